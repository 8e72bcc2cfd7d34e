#include "fake_kube_api.h"

#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "kubernetes/api.pb.h"
#include "kubernetes/pod.pb.h"

namespace podmirror::discovery {
namespace {

constexpr absl::Duration kLookAround = absl::Milliseconds(5);

std::string Wrapped(const std::string& kind, const std::string& raw) {
  kubernetes::Unknown unknown;
  unknown.mutable_type_meta()->set_api_version("v1");
  unknown.mutable_type_meta()->set_kind(kind);
  unknown.set_raw(raw);
  return std::string("k8s\0", 4) + unknown.SerializeAsString();
}

std::string Frame(const std::string& type, const std::string& object) {
  kubernetes::WatchEvent event;
  event.set_type(type);
  event.mutable_object()->set_raw(object);
  const std::string bytes = event.SerializeAsString();
  std::string frame;
  for (int shift = 24; shift >= 0; shift -= 8) {
    frame += static_cast<char>(bytes.size() >> shift & 255);
  }
  return frame + bytes;
}

}  // namespace

FakeKubeApi::FakeKubeApi(Answer list, Answer watch, X509* certificate, EVP_PKEY* key, int port,
                         std::string host)
    : list_(std::move(list)), watch_(std::move(watch)), host_(std::move(host)) {
  if (certificate != nullptr) {
    server_ = std::make_unique<httplib::SSLServer>(certificate, key);
  } else {
    server_ = std::make_unique<httplib::Server>();
  }
  server_->new_task_queue = [] { return new httplib::ThreadPool(16); };
  server_->set_tcp_nodelay(true);
  server_->set_keep_alive_max_count(100'000);
  server_->Get("/api/v1/namespaces/.*",
               [this](const auto& request, auto& response) { Serve(request, response); });
  port_ = port == 0 ? server_->bind_to_any_port(host_)
                    : (server_->bind_to_port(host_, port) ? port : -1);
  thread_ = std::thread([this] { server_->listen_after_bind(); });
  // Stopping it before it runs would stop nothing.
  while (!server_->is_running()) std::this_thread::yield();
}

FakeKubeApi::~FakeKubeApi() {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    changed_.SignalAll();
  }
  server_->stop();
  thread_.join();
}

KubeApiOptions FakeKubeApi::options() const {
  const bool tls = dynamic_cast<httplib::SSLServer*>(server_.get()) != nullptr;
  KubeApiOptions options;
  const std::string host = host_.find(':') == host_.npos ? host_ : "[" + host_ + "]";
  options.url = (tls ? "https://" : "http://") + host + ":" + std::to_string(port_);
  return options;
}

void FakeKubeApi::Push(std::string bytes) {
  absl::MutexLock lock(&mutex_);
  pushed_.push_back(std::move(bytes));
  changed_.SignalAll();
}

std::vector<KubeRequest> FakeKubeApi::requests() const {
  absl::MutexLock lock(&mutex_);
  return requests_;
}

bool FakeKubeApi::WaitForWatches(int count) const {
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  absl::MutexLock lock(&mutex_);
  while (watches_ < count) {
    if (changed_.WaitWithDeadline(&mutex_, deadline)) return watches_ >= count;
  }
  return true;
}

void FakeKubeApi::Serve(const httplib::Request& request, httplib::Response& response) {
  KubeRequest seen;
  seen.watch = request.has_param("watch");
  seen.target = request.target;
  seen.revision = request.get_param_value("resourceVersion");
  seen.continue_token = request.get_param_value("continue");
  seen.limit = request.get_param_value("limit");
  seen.authorization = request.get_header_value("Authorization");
  seen.accept = request.get_header_value("Accept");
  seen.host = request.get_header_value("Host");
  seen.at = std::chrono::steady_clock::now();
  std::size_t begin = 0;
  {
    absl::MutexLock lock(&mutex_);
    seen.number = seen.watch ? ++watches_ : ++lists_;
    requests_.push_back(seen);
    changed_.SignalAll();
    begin = pushed_.size();
  }
  KubeReply reply = seen.watch ? watch_(seen) : list_(seen);
  response.status = reply.status;
  if (!reply.retry_after.empty()) response.set_header("Retry-After", reply.retry_after);
  if (reply.pieces.empty() && reply.end == KubeReply::End::kClean) {
    return response.set_content(std::move(reply.body), reply.type);
  }
  response.set_chunked_content_provider(
      reply.type, [this, reply, at = std::size_t{0}, sent = begin](
                      std::size_t, httplib::DataSink& sink) mutable {
        if (at <= reply.pieces.size() * reply.times) {
          const std::string& piece =
              at == 0 ? reply.body : reply.pieces[(at - 1) % reply.pieces.size()];
          if (at++ > 0 && reply.pause.count() > 0) {
            absl::MutexLock lock(&mutex_);
            const absl::Time end = absl::Now() + absl::FromChrono(reply.pause);
            while (!closing_ && !changed_.WaitWithDeadline(&mutex_, end)) continue;
          }
          return piece.empty() || sink.write(piece.data(), piece.size());
        }
        if (reply.end == KubeReply::End::kCut) return false;
        if (reply.end == KubeReply::End::kClean) {
          sink.done();
          return true;
        }
        return Stay(sent, sink);
      });
}

bool FakeKubeApi::Stay(std::size_t& sent, httplib::DataSink& sink) {
  ++open_watches_;
  bool fine = true;
  while (fine) {
    std::string next;
    {
      absl::MutexLock lock(&mutex_);
      if (!closing_ && pushed_.size() == sent) changed_.WaitWithTimeout(&mutex_, kLookAround);
      if (closing_) break;
      if (pushed_.size() > sent) next = pushed_[sent++];
    }
    fine = next.empty() ? sink.is_writable() : sink.write(next.data(), next.size());
  }
  --open_watches_;
  return false;
}

std::string PodBytes(int number, std::int64_t revision, const std::string& ip,
                     std::size_t padding) {
  kubernetes::Pod pod;
  auto& metadata = *pod.mutable_metadata();
  metadata.set_name("relay-" + std::to_string(number));
  metadata.set_namespace_("default");
  metadata.set_uid("u-" + std::to_string(number));
  metadata.set_resource_version(std::to_string(revision));
  for (const char* name : {"app", "track"}) {
    auto& label = *metadata.add_labels();
    label.set_key(name);
    label.set_value(std::string(name) == "app" ? "relay" : "stable");
  }
  pod.mutable_spec()->add_containers()->set_name("relay");
  auto& status = *pod.mutable_status();
  status.set_phase("Running");
  status.set_pod_ip(!ip.empty() ? ip
                                : "10." + std::to_string(number >> 16) + "." +
                                      std::to_string(number >> 8 & 255) + "." +
                                      std::to_string(number & 255));
  auto& ready = *status.add_conditions();
  ready.set_type("Ready");
  ready.set_status("True");
  auto& container = *status.add_container_statuses();
  container.set_name("relay");
  container.set_ready(true);
  container.mutable_state()->mutable_running()->mutable_started_at()->set_seconds(1709287205 +
                                                                                  number);
  std::string bytes = pod.SerializeAsString();
  if (padding > 0) {
    // Like annotations and managedFields: short texts in a message of fields that we do not know.
    kubernetes::Pod unread;
    while (unread.ByteSizeLong() < padding) {
      kubernetes::RawExtension text;
      text.set_raw("fields-" + std::to_string(unread.ByteSizeLong()) + std::string(40, 'f'));
      unread.mutable_metadata()->mutable_unknown_fields()->append(
          std::string("\x8a\x01", 2) + static_cast<char>(text.ByteSizeLong()) +
          text.SerializeAsString());
    }
    bytes += unread.SerializeAsString();
  }
  return bytes;
}

std::string ListBytes(const std::vector<std::string>& pods, std::int64_t revision,
                      const std::string& continue_token) {
  kubernetes::PodList list;
  list.mutable_metadata()->set_resource_version(std::to_string(revision));
  list.mutable_metadata()->set_continue_(continue_token);
  for (const std::string& pod : pods) list.add_items(pod);
  return Wrapped("PodList", list.SerializeAsString());
}

std::string EventBytes(const std::string& type, const std::string& pod) {
  return Frame(type, Wrapped("Pod", pod));
}

std::string BookmarkBytes(std::int64_t revision) {
  kubernetes::Pod pod;
  pod.mutable_metadata()->set_name("");
  pod.mutable_metadata()->set_resource_version(std::to_string(revision));
  return Frame("BOOKMARK", Wrapped("Pod", pod.SerializeAsString()));
}

std::string ErrorBytes(int code, const std::string& reason, int retry_after_seconds) {
  kubernetes::Status status;
  status.set_code(code);
  status.set_reason(reason);
  status.set_message("said by the test: " + reason);
  if (retry_after_seconds > 0) {
    status.mutable_details()->set_retry_after_seconds(retry_after_seconds);
  }
  return Frame("ERROR", Wrapped("Status", status.SerializeAsString()));
}

KubeReply ListOf(const std::vector<std::string>& pods, std::int64_t revision) {
  return {.body = ListBytes(pods, revision)};
}

KubeReply StayingWatch(std::string body) {
  return {.body = std::move(body),
          .end = KubeReply::End::kStay,
          .type = "application/vnd.kubernetes.protobuf;stream=watch"};
}

KubeReply Refuse(int status, const std::string& message) {
  const nlohmann::json body = {{"kind", "Status"},   {"apiVersion", "v1"}, {"status", "Failure"},
                               {"message", message}, {"reason", "Test"},   {"code", status}};
  return {.status = status, .body = body.dump(), .type = "application/json"};
}

}  // namespace podmirror::discovery
