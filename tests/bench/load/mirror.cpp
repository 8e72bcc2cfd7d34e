// A program with a client::Mirror, which follows a daemon and reads from its copy. Ends with a line
// of JSON.
//
//   bench_mirror ADDRESS... --entries N [--readers 1] [--reads 1000000] [--among N]
//                [--changes 20000] [--plain] [--failover]
//
// followed_ms: from the start of the Mirror until it has all N entries. p50_ns: of a read of a
// random key, by the time that ten of them take one after another, over all readers; --among: of
// the first so many keys. Meanwhile so many changes a second are written to the daemon.
// --plain: the same entries are read from what one would write by hand, a std::unordered_map under
// a std::shared_mutex.
// --failover: it says at once which daemon it follows, and ends when it follows another one.
// received: entries, that of the second one alone.
#include "client/mirror.h"

#include <absl/synchronization/mutex.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <random>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/client.h"

namespace {

using podmirror::client::Client;
using podmirror::client::Mirror;
using Clock = std::chrono::steady_clock;
using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr std::uint64_t kGroup = 10;
constexpr std::size_t kValueBytes = 100;
constexpr std::uint64_t kChangesInBatch = 100;
constexpr std::uint64_t kApart = 1009;  // a prime: so that no batch has a key twice

struct Options {
  std::vector<std::string> addresses;
  std::uint64_t entries = 1'000'000;
  std::uint64_t readers = 1;
  std::uint64_t reads = 1'000'000;
  std::uint64_t among = 0;  // 0: all
  std::uint64_t changes = 0;
  bool plain = false;
  bool failover = false;
};

struct Outcome {
  std::vector<std::int64_t> nanos;  // of each group of reads
  std::uint64_t errors = 0;
};

std::string Key(std::uint64_t number) {
  char key[32];
  std::snprintf(key, sizeof key, "key-%014llu", static_cast<unsigned long long>(number));
  return key;
}

podmirror::client::Options ClientOptions(const Options& options) {
  podmirror::client::Options client;
  client.peers = options.addresses;
  client.deadline = 20s;
  return client;
}

template <typename T>
T Value(podmirror::Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.status().ToString());
  return std::move(*result);
}

std::unique_ptr<Mirror> Follow(const Options& options) {
  auto mirror = Value(Mirror::New(ClientOptions(options)));
  if (!mirror->WaitSynced(60s)) throw std::runtime_error(mirror->Status().error);
  if (mirror->Status().entries != options.entries) throw std::runtime_error("other entries");
  return mirror;
}

class PlainMap {
 public:
  explicit PlainMap(const Mirror& mirror) {
    mirror.ForEach([this](const podmirror::client::MirrorEntry& entry) {
      values_.emplace(entry.key(), std::make_shared<std::string>(entry.value()));
      return true;
    });
  }

  std::size_t Read(const std::string& key) const {
    const std::shared_lock lock(mu_);
    const auto found = values_.find(key);
    const std::shared_ptr<std::string> value = found == values_.end() ? nullptr : found->second;
    return value ? value->size() : 0;
  }

 private:
  mutable std::shared_mutex mu_;
  std::unordered_map<std::string, std::shared_ptr<std::string>> values_;
};

// read: gives the size of the value of a key.
template <typename ReadOne>
Outcome Read(const Options& options, std::uint64_t seed, const ReadOne& read) {
  std::mt19937_64 random(seed);
  std::vector<std::string> keys(std::min<std::uint64_t>(options.reads, 500'000));
  for (std::string& key : keys) {
    key = Key(random() % (options.among != 0 ? options.among : options.entries));
  }
  Outcome outcome;
  auto begin = Clock::now();
  for (std::uint64_t i = 1; i <= options.reads; ++i) {
    if (read(keys[i % keys.size()]) != kValueBytes) ++outcome.errors;
    if (i % kGroup != 0) continue;
    const auto end = Clock::now();
    outcome.nanos.push_back((end - begin).count() / static_cast<std::int64_t>(kGroup));
    begin = end;
  }
  return outcome;
}

// At the rate that is asked for, until `done`.
void Change(const Options& options, const std::atomic<bool>& done) {
  const auto client = Value(Client::New(ClientOptions(options)));
  std::mt19937_64 random(1);
  const auto start = Clock::now();
  for (std::uint64_t sent = 0; !done; sent += kChangesInBatch) {
    std::this_thread::sleep_until(start + sent * 1'000'000'000ns / options.changes);
    std::vector<podmirror::client::Item> items;
    const std::uint64_t first = random();
    for (std::uint64_t i = 0; i < kChangesInBatch; ++i) {
      items.push_back({.type = 1,
                       .key = Key((first + i * kApart) % options.entries),
                       .value = std::string(kValueBytes, 'c')});
    }
    Value(client->Set(items));
  }
}

// At another daemon. Returns how many entries that took.
std::uint64_t FollowAnother(const Mirror& mirror) {
  const auto before = mirror.Status();
  std::printf(R"({"follows":"%s"})"
              "\n",
              before.daemon.c_str());
  std::fflush(stdout);
  const auto until = Clock::now() + 60s;
  for (;;) {
    const auto status = mirror.Status();
    const bool another = status.daemons_followed > before.daemons_followed;
    if (another && status.state == podmirror::client::MirrorState::kSynced) {
      return status.received - before.received;
    }
    if (Clock::now() > until) throw std::runtime_error(status.error);
    std::this_thread::sleep_for(1ms);
  }
}

void Run(const Options& options) {
  const auto begin = Clock::now();
  const auto mirror = Follow(options);
  const double followed_ms =
      std::chrono::duration<double, std::milli>(Clock::now() - begin).count();

  if (options.failover) {
    std::printf(R"({"received":%llu})"
                "\n",
                static_cast<unsigned long long>(FollowAnother(*mirror)));
    return;
  }
  std::atomic<bool> done = false;
  std::thread changing;
  if (options.changes != 0) changing = std::thread([&] { Change(options, done); });
  std::vector<Outcome> outcomes(options.readers);
  const auto map = options.plain ? std::make_unique<PlainMap>(*mirror) : nullptr;
  std::vector<std::thread> readers;
  for (std::uint64_t i = 0; i < options.readers; ++i) {
    readers.emplace_back([&, i] {
      if (map) {
        outcomes[i] = Read(options, i, [&](const std::string& key) { return map->Read(key); });
      } else {
        outcomes[i] = Read(options, i, [&](const std::string& key) {
          const auto entry = mirror->Get(1, key);
          return entry ? entry.value().size() : 0;
        });
      }
    });
  }
  for (std::thread& reader : readers) reader.join();
  done = true;
  if (changing.joinable()) changing.join();

  Outcome all;
  for (const Outcome& outcome : outcomes) {
    all.nanos.insert(all.nanos.end(), outcome.nanos.begin(), outcome.nanos.end());
    all.errors += outcome.errors;
  }
  std::sort(all.nanos.begin(), all.nanos.end());
  std::printf(R"({"requests":%llu,"errors":%llu,"followed_ms":%.1f,"p50_ns":%lld,)"
              R"("received":%llu})"
              "\n",
              static_cast<unsigned long long>(options.reads * options.readers),
              static_cast<unsigned long long>(all.errors), followed_ms,
              static_cast<long long>(all.nanos[all.nanos.size() / 2]),
              static_cast<unsigned long long>(mirror->Status().received));
}

}  // namespace

int main(int argc, char** argv) {
  // What src/client/README.md advises.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  CLI::App app{"Reads of a mirror, for the benchmarks."};
  Options options;
  app.add_option("address", options.addresses)->required();
  app.add_option("--entries", options.entries)->check(CLI::PositiveNumber);
  app.add_option("--readers", options.readers)->check(CLI::PositiveNumber);
  app.add_option("--reads", options.reads)->check(CLI::Range(std::uint64_t{kGroup}, UINT64_MAX));
  app.add_option("--among", options.among);
  app.add_option("--changes", options.changes);
  app.add_flag("--plain", options.plain);
  app.add_flag("--failover", options.failover);
  CLI11_PARSE(app, argc, argv);
  try {
    Run(options);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
