// A server on a loopback port that answers like the Kubernetes API, but what the test says, and
// what such answers are made of. Thread safety: all calls from any thread; the functions are called
// from threads of the server.
#pragma once

#include <absl/synchronization/mutex.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "discovery/peer_source.h"

namespace podmirror::discovery {

struct KubeRequest {
  bool watch = false;
  int number = 0;      // of its kind, from 1
  std::string target;  // as it came
  std::string revision, continue_token, limit;
  std::string authorization, accept, host;
  std::chrono::steady_clock::time_point at;
};

struct KubeReply {
  enum class End {
    kClean,  // as HTTP wants it
    kCut,    // the connection is closed in the middle
    kStay    // nothing more but what Push sends, until the connection or the server goes away
  };
  int status = 200;
  std::string body{};
  std::vector<std::string> pieces{};   // sent after the body, each on its own; then it is chunked
  std::size_t times = 1;               // how often all of them are sent
  std::chrono::milliseconds pause{0};  // before each of them
  End end = End::kClean;
  std::string retry_after{};
  std::string type = "application/vnd.kubernetes.protobuf";
};

class FakeKubeApi {
 public:
  using Answer = std::function<KubeReply(const KubeRequest& request)>;

  // With a certificate it speaks TLS. A `port` of 0 is one that the kernel chooses. `host` is a
  // loopback address.
  FakeKubeApi(Answer list, Answer watch, X509* certificate = nullptr, EVP_PKEY* key = nullptr,
              int port = 0, std::string host = "127.0.0.1");
  ~FakeKubeApi();

  int port() const { return port_; }
  KubeApiOptions options() const;

  // Sent in the watches that stay.
  void Push(std::string bytes);

  std::vector<KubeRequest> requests() const;
  int lists() const { return lists_; }
  int watches() const { return watches_; }
  int open_watches() const { return open_watches_; }
  // Whether there were so many within 30 seconds: a sanitizer on a busy machine is slow.
  bool WaitForWatches(int count) const;

 private:
  void Serve(const httplib::Request& request, httplib::Response& response);
  bool Stay(std::size_t& sent, httplib::DataSink& sink);

  const Answer list_;
  const Answer watch_;
  const std::string host_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::thread thread_;
  std::atomic<int> lists_ = 0;
  std::atomic<int> watches_ = 0;
  std::atomic<int> open_watches_ = 0;
  mutable absl::Mutex mutex_;
  mutable absl::CondVar changed_;
  std::vector<KubeRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> pushed_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
};

// A running pod relay-<number> in namespace default, as bytes of Kubernetes' Pod; `padding` bytes
// of fields that nobody here reads.
std::string PodBytes(int number, std::int64_t revision, const std::string& ip = "",
                     std::size_t padding = 0);
std::string ListBytes(const std::vector<std::string>& pods, std::int64_t revision,
                      const std::string& continue_token = "");
// A frame of a watch, its length included. type: ADDED, MODIFIED, DELETED.
std::string EventBytes(const std::string& type, const std::string& pod);
std::string BookmarkBytes(std::int64_t revision);
std::string ErrorBytes(int code, const std::string& reason, int retry_after_seconds = 0);

KubeReply ListOf(const std::vector<std::string>& pods, std::int64_t revision);
// The body is sent and the watch stays open.
KubeReply StayingWatch(std::string body = "");
// A Status in JSON.
KubeReply Refuse(int status, const std::string& message);

}  // namespace podmirror::discovery
