// Reads and writes on some threads until stdin ends, and prints the counts every 50 ms: lines of
// "name value" words, one line a time. Usage: load WHERE READERS WRITERS, where WHERE is
// HOST:PORT[,HOST:PORT...] or the URL of an etcd that the daemons of "podmirror" register in.
#include <podmirror/client/client.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace client = podmirror::client;

namespace {

struct Counts {
  std::atomic<long> reads{0}, failed_reads{0}, writes{0}, failed_writes{0}, uncertain_writes{0};
  std::atomic<long> slowest_ms{0};
};

void Read(client::Client& cache, std::atomic<bool>& over, Counts& counts) {
  for (int i = 0; !over; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto entry = cache.Get(1, "w-" + std::to_string(i % 100));
    const auto took = std::chrono::steady_clock::now() - begin;
    const long ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
    if (ms > counts.slowest_ms) counts.slowest_ms = ms;
    ++counts.reads;
    if (!entry.ok() && entry.status().code() != podmirror::Code::kNotFound) {
      ++counts.failed_reads;
      std::cerr << "read: " << entry.status().ToString() << std::endl;
    }
  }
}

void Write(client::Client& cache, std::atomic<bool>& over, Counts& counts) {
  for (int i = 0; !over; ++i) {
    const auto set =
        cache.Set({{1, "w-" + std::to_string(i % 100), "value"}}, {.ack = client::Ack::kLocal});
    ++counts.writes;
    if (set.ok()) continue;
    ++(set.status().code() == podmirror::Code::kUncertain ? counts.uncertain_writes
                                                          : counts.failed_writes);
    std::cerr << "write: " << set.status().ToString() << std::endl;
  }
}

void Print(client::Client& cache, const Counts& counts) {
  std::ostringstream line;
  line << "reads " << counts.reads << " failed_reads " << counts.failed_reads << " writes "
       << counts.writes << " failed_writes " << counts.failed_writes << " uncertain_writes "
       << counts.uncertain_writes << " slowest_ms " << counts.slowest_ms;
  for (const client::Daemon& daemon : cache.GetDaemons().daemons) {
    line << " " << daemon.address << " " << daemon.calls << " state:" << daemon.address << " "
         << client::ToString(daemon.state);
  }
  std::cout << line.str() << std::endl;
}

// Waits for 50 ms or the end of stdin; false at the end.
bool GoOn() {
  pollfd input = {STDIN_FILENO, POLLIN, 0};
  if (poll(&input, 1, 50) == 0) return true;
  std::array<char, 64> unused;
  return read(STDIN_FILENO, unused.data(), unused.size()) > 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  client::Options options;
  const std::string where = argv[1];
  if (where.starts_with("http://")) {
    options.registry = client::Registry{.etcd_endpoints = {where}, .service = "podmirror"};
  } else {
    std::istringstream peers(where);
    for (std::string peer; std::getline(peers, peer, ',');) options.peers.push_back(peer);
  }
  const auto cache = client::Client::New(options);
  if (!cache.ok()) {
    std::cerr << cache.status().ToString() << std::endl;
    return 2;
  }
  Counts counts;
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = std::atoi(argv[2]); i > 0; --i) {
    threads.emplace_back([&] { Read(**cache, over, counts); });
  }
  for (int i = std::atoi(argv[3]); i > 0; --i) {
    threads.emplace_back([&] { Write(**cache, over, counts); });
  }
  while (GoOn()) Print(**cache, counts);
  over = true;
  for (std::thread& thread : threads) thread.join();
  Print(**cache, counts);
  return 0;
}
