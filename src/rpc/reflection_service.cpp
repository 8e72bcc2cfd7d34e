#include "rpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/support/status_code_enum.h>

#include <memory>
#include <utility>

#include "grpc/reflection.pb.h"

namespace podmirror::rpc {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FileDescriptor;
using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
using Response = grpc::reflection::v1alpha::ServerReflectionResponse;

// Version 1 has the same messages under another name.
constexpr const char* kServices[] = {"grpc.reflection.v1alpha.ServerReflection",
                                     "grpc.reflection.v1.ServerReflection"};

// `file` and all that it imports, each once.
void PutFile(const FileDescriptor* file, std::set<const FileDescriptor*>* done, Response* to) {
  if (!done->insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  to->mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) PutFile(file->dependency(i), done, to);
}

void PutFile(const FileDescriptor* file, Response* to) {
  if (file == nullptr) {
    to->mutable_error_response()->set_error_code(grpc::StatusCode::NOT_FOUND);
    to->mutable_error_response()->set_error_message("not found");
    return;
  }
  std::set<const FileDescriptor*> done;
  PutFile(file, &done, to);
}

Response AnswerTo(const Request& request, const std::set<std::string>& services) {
  Response response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  const DescriptorPool* pool = DescriptorPool::generated_pool();
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& name : services) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case Request::kFileByFilename:
      PutFile(pool->FindFileByName(request.file_by_filename()), &response);
      break;
    case Request::kFileContainingSymbol:
      PutFile(pool->FindFileContainingSymbol(request.file_containing_symbol()), &response);
      break;
    case Request::MESSAGE_REQUEST_NOT_SET:
      response.mutable_error_response()->set_error_code(grpc::StatusCode::UNIMPLEMENTED);
      response.mutable_error_response()->set_error_message("not supported");
      break;
  }
  return response;
}

}  // namespace

// Reads a request and writes its answer, in turn.
class ReflectionService::Call final : public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<ServerCall> call, const std::set<std::string>& services)
      : call_(std::move(call)), services_(services) {}

  void Continue() {
    call_->Read(&bytes_, [self = shared_from_this()](bool ok) { self->OnRead(ok); });
  }

 private:
  void OnRead(bool ok) {
    if (!ok) {
      call_->Finish(Status());
      return;
    }
    Request request;
    const Status status = bytes_.Length() < net::kBulkBytes
                              ? FromBytes(bytes_, &request)
                              : Status(Code::kExhausted, "no name is so long");
    if (!status.ok()) {
      call_->Finish(status);
      return;
    }
    bytes_ = ToBytes(AnswerTo(request, services_));
    call_->Write(bytes_, [self = shared_from_this()](bool written) {
      if (written) {
        self->Continue();
      } else {
        self->call_->Finish({Code::kUnavailable, "cancelled"});
      }
    });
  }

  const std::shared_ptr<ServerCall> call_;
  const std::set<std::string>& services_;
  grpc::ByteBuffer bytes_;  // read, then written
};

void ReflectionService::AddTo(Methods& methods) {
  for (const auto& [method, handler] : methods) {
    services_.insert(method.substr(1, method.rfind('/') - 1));
  }
  services_.insert(kServices[0]);
  for (const std::string service : kServices) {
    methods.emplace("/" + service + "/ServerReflectionInfo",
                    [this](std::shared_ptr<ServerCall> call) {
                      const Status status = access_.Permit(call->asker(), {trust::Verb::kStatus});
                      if (!status.ok()) {
                        call->Finish(status);
                        return;
                      }
                      std::make_shared<Call>(std::move(call), services_)->Continue();
                    });
  }
}

}  // namespace podmirror::rpc
