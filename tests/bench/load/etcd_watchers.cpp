// A crowd that watches a prefix of etcd, each over a connection of its own, as so many programs do.
//
//   etcd_watchers HOST:PORT --readers 500 [--prefix key-]
//
// A line on standard input is answered with a line of JSON: how many watches have begun, and what
// they were told. It ends with its input.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "etcd/rpc.grpc.pb.h"

namespace {

struct Totals {
  std::atomic<std::uint64_t> begun{0};
  std::atomic<std::uint64_t> events{0};
  std::atomic<std::uint64_t> messages{0};
  std::atomic<std::uint64_t> errors{0};
};

// One call. Its steps come one after the other: the call is made, the request sent, then answers.
class Watcher {
 public:
  Watcher(const std::string& address, const std::string& prefix, grpc::CompletionQueue& queue,
          Totals& totals)
      : totals_(totals) {
    grpc::ChannelArguments arguments;
    arguments.SetInt("grpc.use_local_subchannel_pool", 1);
    arguments.SetInt("grpc.enable_http_proxy", 0);
    stub_ = etcdserverpb::Watch::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
    auto* wanted = request_.mutable_create_request();
    wanted->set_key(prefix);
    std::string end = prefix;
    ++end.back();
    wanted->set_range_end(end);
    call_ = stub_->AsyncWatch(&context_, &queue, this);
  }

  void Step(bool ok) {
    if (!ok) {
      ++totals_.errors;
      return;
    }
    switch (step_++) {
      case 0:
        call_->Write(request_, this);
        return;
      case 1:
        break;
      default:
        Take();
    }
    call_->Read(&response_, this);
  }

  void Cancel() { context_.TryCancel(); }

 private:
  void Take() {
    ++totals_.messages;
    if (response_.created()) ++totals_.begun;
    if (response_.canceled()) ++totals_.errors;
    totals_.events += static_cast<std::uint64_t>(response_.events_size());
  }

  Totals& totals_;
  std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  grpc::ClientContext context_;
  etcdserverpb::WatchRequest request_;
  etcdserverpb::WatchResponse response_;
  std::unique_ptr<
      grpc::ClientAsyncReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      call_;
  std::uint64_t step_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A crowd that watches etcd."};
  std::string address, prefix = "key-";
  int readers = 1;
  app.add_option("address", address)->required();
  app.add_option("--readers", readers)->check(CLI::PositiveNumber);
  app.add_option("--prefix", prefix);
  CLI11_PARSE(app, argc, argv);

  Totals totals;
  grpc::CompletionQueue queue;
  std::vector<std::unique_ptr<Watcher>> watchers;
  for (int i = 0; i < readers; ++i) {
    watchers.push_back(std::make_unique<Watcher>(address, prefix, queue, totals));
  }
  std::thread thread([&queue] {
    void* tag = nullptr;
    for (bool ok = false; queue.Next(&tag, &ok);) static_cast<Watcher*>(tag)->Step(ok);
  });
  for (std::string line; std::getline(std::cin, line);) {
    std::printf(R"({"synced":%llu,"events":%llu,"messages":%llu,"errors":%llu})"
                "\n",
                static_cast<unsigned long long>(totals.begun),
                static_cast<unsigned long long>(totals.events),
                static_cast<unsigned long long>(totals.messages),
                static_cast<unsigned long long>(totals.errors));
    std::fflush(stdout);
  }
  for (const auto& watcher : watchers) watcher->Cancel();
  queue.Shutdown();
  thread.join();
  return 0;
}
