// What a source told, to wait for and to look at.
#pragma once

#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "discovery/peer_source.h"

namespace podmirror::discovery {

struct Seen {
  std::optional<PeerSet> set;  // the last one
  std::int64_t revision = 0;
  int answers = 0;
  std::vector<std::string> errors;
  std::multimap<std::string, std::string> unreadable;

  std::set<std::string> names() const {
    std::set<std::string> names;
    if (set) {
      for (const PodRecord& peer : set->peers) names.insert(peer.name);
    }
    return names;
  }
};

using Names = std::set<std::string>;

// A source that is started, and stopped at the end of the test.
class Running {
 public:
  explicit Running(Result<std::unique_ptr<PeerSource>> source) {
    INFO(source.status().ToString());
    REQUIRE(source.ok());
    source_ = std::move(*source);
    source_->Start({.peers =
                        [this](PeerSet set, std::int64_t revision) {
                          absl::MutexLock lock(&mutex_);
                          seen_.set = std::move(set);
                          seen_.revision = revision;
                          ++seen_.answers;
                          changed_.SignalAll();
                        },
                    .failed =
                        [this](const std::string& error) {
                          absl::MutexLock lock(&mutex_);
                          seen_.errors.push_back(error);
                          changed_.SignalAll();
                        },
                    .unreadable =
                        [this](const std::string& where, const std::string& reason) {
                          absl::MutexLock lock(&mutex_);
                          seen_.unreadable.emplace(where, reason);
                          changed_.SignalAll();
                        }});
  }
  ~Running() { source_->Stop(); }

  PeerSource* operator->() { return source_.get(); }

  Seen seen() const {
    absl::MutexLock lock(&mutex_);
    return seen_;
  }

  // Whether `wanted` came true within `limit`.
  bool WaitFor(const std::function<bool(const Seen&)>& wanted,
               std::chrono::milliseconds limit = std::chrono::seconds(10)) const {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    absl::MutexLock lock(&mutex_);
    while (!wanted(seen_)) {
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= left.zero()) return false;
      // A wanted that looks elsewhere too is asked now and then.
      changed_.WaitWithTimeout(&mutex_, std::min(absl::FromChrono(left), absl::Milliseconds(50)));
    }
    return true;
  }
  bool WaitForNames(const Names& names,
                    std::chrono::milliseconds limit = std::chrono::seconds(10)) const {
    return WaitFor([&](const Seen& seen) { return seen.set && seen.names() == names; }, limit);
  }

  // Asks to read again, all the time, until there were `answers`. As reads begin at least a second
  // apart, that takes a second for each but the first, whatever else the machine does.
  bool RefreshUntilAnswers(int answers) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    const auto enough = [answers](const Seen& seen) { return seen.answers >= answers; };
    while (!WaitFor(enough, std::chrono::milliseconds(1))) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      source_->Refresh();
    }
    return true;
  }

  std::chrono::milliseconds TimeStop() {
    const auto start = std::chrono::steady_clock::now();
    source_->Stop();
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 start);
  }

 private:
  mutable absl::Mutex mutex_;
  mutable absl::CondVar changed_;
  Seen seen_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<PeerSource> source_;
};

// How long ago it was made.
class Stopwatch {
 public:
  std::int64_t ms() const {
    return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start_)
        .count();
  }

 private:
  using milliseconds = std::chrono::milliseconds;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

inline PodFilter FilterFor(const std::string& ns, const std::string& service) {
  PodFilter filter;
  filter.ns = ns;
  filter.service = service;
  filter.peer_port = 7070;
  return filter;
}

}  // namespace podmirror::discovery
