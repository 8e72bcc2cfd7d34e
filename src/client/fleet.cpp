#include "client/fleet.h"

#include <utility>

#include "client/source.h"

namespace podmirror::client {
namespace {

Status Check(const Options& options) {
  const auto in_range = [](std::chrono::milliseconds time) {
    return time.count() > 0 && time <= kLongest;
  };
  if (!in_range(options.deadline)) return {Code::kInvalid, "deadline: 1 ms to 1 h"};
  if (!in_range(options.resolve_interval)) return {Code::kInvalid, "resolve_interval: 1 ms to 1 h"};
  if (options.max_attempts < 1) return {Code::kInvalid, "max_attempts: at least 1"};
  if (options.max_calls < 1) return {Code::kInvalid, "max_calls: at least 1"};
  if (options.max_daemons < 1) return {Code::kInvalid, "max_daemons: at least 1"};
  return {};
}

}  // namespace

Result<std::unique_ptr<Fleet>> Fleet::New(const Options& options,
                                          std::unique_ptr<discovery::PeerSource> source, Env& env) {
  if (Status status = Check(options); !status.ok()) return status;
  auto credentials = Credentials::New(options, env);
  if (!credentials.ok()) return credentials.status();
  std::unique_ptr<Fleet> fleet(new Fleet(options, env, std::move(*credentials)));
  if (!source) {
    auto made = NewSource(options, fleet->metrics_, env);
    if (!made.ok()) return made.status();
    source = std::move(*made);
  }
  fleet->source_ = std::move(source);
  return fleet;
}

Fleet::Fleet(const Options& options, Env& env, std::shared_ptr<Credentials> credentials)
    : tls_port_(options.tls ? options.tls->port : 0),
      env_(env),
      credentials_(std::move(credentials)),
      pool_(env_, options.max_daemons, credentials_) {}

Fleet::~Fleet() {
  pool_.Stop();
  if (source_) source_->Stop();
}

void Fleet::Start() {
  source_->Start({.peers = [this](const PeerSet& set, std::int64_t) { SetDaemons(set); },
                  .failed = [this](const std::string& error) { pool_.SetDiscoveryError(error); },
                  .unreadable =
                      [this](const std::string& where, const std::string& reason) {
                        pool_.SetDiscoveryError(where + ": " + reason);
                      }});
}

void Fleet::SetDaemons(PeerSet set) {
  if (tls_port_ != 0) {
    for (PodRecord& peer : set.peers) peer.port = tls_port_;
  }
  pool_.SetDaemons(set);
}

}  // namespace podmirror::client
