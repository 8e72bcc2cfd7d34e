// Requests to the Kubernetes API for the pods of one namespace: credentials, paging, and what the
// API's refusals mean. The API is not trusted: time, pages and the texts that it sends are bounded.
// Thread safety: Cancel from any thread, all else from the source's thread.
// Invariants: (1) the token is read again for each request, the authorities' file too.
//             (2) the token stands in no message, and leaves without TLS only to a loopback
//                 address.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "discovery/kube_api_codec.h"
#include "discovery/peer_source.h"
#include "net/http_client.h"

namespace podmirror::discovery {

class KubeApiClient {
 public:
  struct Watcher {
    // The API has taken the watch. False ends it.
    std::function<bool()> opened;
    // One event; kError never comes. A failure ends the watch.
    std::function<Status(KubeEvent event)> event;
    // All events that have come up to now have been given to `event`.
    std::function<void()> settled;
  };

  // kInvalid naming the setting that is wrong. `stopping` is asked before each request.
  static Result<std::unique_ptr<KubeApiClient>> New(KubeApiOptions options, std::string ns,
                                                    const std::string& selector,
                                                    std::function<bool()> stopping, Env& env);

  // Errors of List and Watch: kNotFound when a revision or a page is no longer there: list again.
  // kRefused when the API does not accept the token, or does not allow the request: the message
  // then names the RBAC rule that is missing. kUnavailable for any other answer. Else the errors of
  // net::HttpClient.

  // Gives all pods to `each`, page by page. Returns the revision to watch from. When a page is
  // gone, List calls `again` and asks for all pods at once: the pods given before do not count.
  Result<std::int64_t> List(const std::function<void()>& again,
                            const std::function<Status(KubePod pod)>& each);

  // Gives the events after `revision` to `watcher`. OK when the API has ended the watch. kDeadline
  // when `until` has passed or the API was silent for quiet_limit.
  Status Watch(std::int64_t revision, SteadyMs until, const Watcher& watcher);

  // How long the last answer asked us to wait, at most a minute; 0: it did not ask.
  std::chrono::milliseconds retry_after() const { return retry_after_; }

  // As in net::HttpClient. Cancel ends a Watch, but ends a List only when `stopping` says true.
  void Cancel() { http_->Cancel(); }
  void Rearm() { http_->Rearm(); }
  bool cancelled() const { return http_->cancelled(); }

  // "https://10.96.0.1:443", and the path of the pods there: "/api/v1/namespaces/default/pods".
  const std::string& server() const { return server_; }
  const std::string& path() const { return path_; }

 private:
  KubeApiClient(KubeApiOptions options, std::string server, std::string ns,
                const std::string& selector, std::function<bool()> stopping, Env& env,
                std::unique_ptr<net::HttpClient> http);

  Result<std::string> ReadToken() const;
  Result<net::HttpResponse> Send(net::HttpRequest request);
  Result<net::HttpResponse> SendUncancelled(const net::HttpRequest& request);
  Status Refusal(const KubeStatus& status, const char* verb);
  Result<std::int64_t> ListPages(int limit, const std::function<Status(KubePod)>& each);

  const KubeApiOptions options_;
  const std::string server_;
  const std::string ns_;
  const std::string path_;
  const std::string selector_;  // a part of a query, or empty
  const std::function<bool()> stopping_;
  Env& env_;
  const std::unique_ptr<net::HttpClient> http_;
  std::string token_;  // the last one sent
  std::chrono::milliseconds retry_after_{0};
};

}  // namespace podmirror::discovery
