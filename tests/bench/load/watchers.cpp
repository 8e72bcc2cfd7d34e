// A crowd that watches one daemon, in one thread: clients that read all, clients that never read,
// and clients that come back all the time with the token that they have. Each of those that read
// keeps what it was told and checks that no version goes back.
//
//   watchers HOST:PORT --readers 400 [--idle 50] [--returning 50] [--target /v1/watch?initial=true]
//
// A line on standard input, `report` or `content`, is answered with a line of JSON: of all, and of
// what the first reader holds. It ends with its input.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <memory>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "CLI/CLI.hpp"
#include "watch_stream.h"

namespace {

using bench::Event;
using bench::Version;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{20};
constexpr milliseconds kLongestVisit{300};      // of one that comes back
constexpr std::uint64_t kEventsOfAVisit = 500;  // at most
constexpr seconds kIdleLimit{15};               // a daemon cuts who reads nothing before that
// So that who falls behind does so in the daemon, and not by megabytes in the kernel.
constexpr int kReceiveBytes = 128 * 1024;
constexpr int kIdleReceiveBytes = 4096;

struct Options {
  std::string address;
  int readers = 1;
  int idle = 0;
  int returning = 0;
  std::string target = "/v1/watch?initial=true";
};

struct Totals {
  std::uint64_t events = 0;
  std::uint64_t bytes = 0;
  std::uint64_t connects = 0;
  std::uint64_t resets = 0;
  std::uint64_t cut = 0;      // readers that lost their connection
  std::uint64_t refused = 0;  // attempts that led to none
  std::vector<std::string> errors;
};

void Note(Totals& totals, const std::string& error) {
  if (totals.errors.size() < 5) totals.errors.push_back(error);
}

// Numbers for the names of entries, shared by all who watch.
class Names {
 public:
  std::size_t Number(std::string_view type, std::string_view key) {
    name_.assign(type);
    name_.append("/").append(key);
    const auto [found, added] = numbers_.try_emplace(name_, all_.size());
    if (added) all_.push_back(name_);
    return found->second;
  }
  const std::string& at(std::size_t number) const { return all_[number]; }

 private:
  std::string name_;
  std::unordered_map<std::string, std::size_t> numbers_;
  std::vector<std::string> all_;
};

struct Held {
  Version version;
  std::uint32_t value = 0;  // its checksum
  bool there = false;       // else deleted, or never heard of
};

enum class Role { kReader, kReturning, kIdle };

// One client: its connection at the moment, and all that it was told so far.
class Watcher {
 public:
  Watcher(Role role, Names& names, Totals& totals) : role_(role), names_(names), totals_(totals) {}
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  ~Watcher() { Close(); }

  Role role() const { return role_; }
  bool synced() const { return synced_; }
  const std::vector<Held>& held() const { return held_; }

  void Open(int epoll, const sockaddr_in& address, const std::string& target, bool lines,
            std::uint64_t events) {
    Close();
    if (token_.empty()) held_.clear();
    stream_ =
        std::make_unique<bench::WatchStream>([this](const Event& event) { return Take(event); });
    request_ = "GET " + target + (token_.empty() ? "" : "&since=" + token_) +
               " HTTP/1.1\r\nHost: x\r\nAccept: " +
               (lines ? "application/x-ndjson" : "text/event-stream") + "\r\n\r\n";
    left_ = events;
    opened_ = Clock::now();
    socket_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int bytes = role_ == Role::kIdle ? kIdleReceiveBytes : kReceiveBytes;
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    epoll_event wanted{.events = EPOLLOUT, .data = {.ptr = this}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, socket_, &wanted);
    ++totals_.connects;
  }

  // False when the connection is over.
  bool Handle(int epoll, std::uint32_t events, std::vector<char>& buffer) {
    if (!request_.empty()) {
      if (send(socket_, request_.data(), request_.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(request_.size())) {
        ++totals_.refused;
        return false;
      }
      request_.clear();
      epoll_event wanted{.events = role_ == Role::kIdle ? 0U : EPOLLIN, .data = {.ptr = this}};
      epoll_ctl(epoll, EPOLL_CTL_MOD, socket_, &wanted);
      return true;
    }
    if (role_ == Role::kIdle) return (events & (EPOLLHUP | EPOLLERR)) == 0;
    const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      ++(stream_->begun() ? totals_.cut : totals_.refused);
      return false;
    }
    totals_.bytes += static_cast<std::uint64_t>(got);
    if (stream_->Take({buffer.data(), static_cast<std::size_t>(got)})) return true;
    Note(totals_, stream_->error());
    return false;
  }

  // It has seen enough of this connection.
  bool Tired(Clock::time_point now) const {
    if (role_ == Role::kIdle) return now - opened_ > kIdleLimit;
    return role_ == Role::kReturning && synced_ && (left_ == 0 || now - opened_ > kLongestVisit);
  }

  // Equal for those that hold the same.
  std::uint64_t Digest() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < held_.size(); ++i) {
      if (!held_[i].there) continue;
      std::uint64_t mixed = i + 1;
      for (const std::uint64_t part :
           {held_[i].version.hlc, held_[i].version.origin, std::uint64_t{held_[i].value}}) {
        mixed = (mixed ^ part) * 0x9E3779B97F4A7C15U;
        mixed ^= mixed >> 29U;
      }
      sum += mixed;
    }
    return sum;
  }

  void Close() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
    synced_ = false;
  }

 private:
  bool Take(const Event& event) {
    ++totals_.events;
    if (left_ > 0) --left_;
    token_ = event.id;
    if (event.kind == "put" || event.kind == "delete") return TakeChange(event);
    if (event.kind == "reset") {
      ++totals_.resets;
      held_.clear();
      synced_ = false;
    } else if (event.kind == "synced") {
      synced_ = true;
    } else if (event.kind != "bookmark") {
      return false;
    }
    return true;
  }

  bool TakeChange(const Event& event) {
    Version version;
    if (!bench::ReadVersion(event.version, version)) return false;
    const std::size_t number = names_.Number(event.type, event.key);
    if (held_.size() <= number) held_.resize(std::max(number + 1, 2 * held_.size()));
    Held& held = held_[number];
    if (version < held.version) return false;
    const auto* bytes = reinterpret_cast<const Bytef*>(event.value.data());
    held = {version, static_cast<std::uint32_t>(crc32(0, bytes, event.value.size())),
            event.kind == "put"};
    return true;
  }

  const Role role_;
  Names& names_;
  Totals& totals_;
  int socket_ = -1;
  std::string request_;  // that is to be sent
  std::unique_ptr<bench::WatchStream> stream_;
  Clock::time_point opened_;
  std::uint64_t left_ = 0;  // events until it has seen enough
  bool synced_ = false;
  std::string token_;
  std::vector<Held> held_;  // by the number of the name
};

class Crowd {
 public:
  explicit Crowd(const Options& options) : target_(options.target) {
    const std::size_t colon = options.address.rfind(':');
    address_.sin_family = AF_INET;
    address_.sin_port =
        htons(static_cast<std::uint16_t>(std::stoi(options.address.substr(colon + 1))));
    if (inet_pton(AF_INET, options.address.substr(0, colon).c_str(), &address_.sin_addr) != 1) {
      throw std::runtime_error("no such address: " + options.address);
    }
    for (const auto& [role, count] : {std::pair{Role::kReader, options.readers},
                                      {Role::kReturning, options.returning},
                                      {Role::kIdle, options.idle}}) {
      for (int i = 0; i < count; ++i) {
        watchers_.push_back(std::make_unique<Watcher>(role, names_, totals_));
        Open(*watchers_.back());
      }
    }
    epoll_event wanted{.events = EPOLLIN, .data = {.ptr = nullptr}};
    epoll_ctl(epoll_, EPOLL_CTL_ADD, STDIN_FILENO, &wanted);
  }

  // Until the input ends.
  void Run() {
    std::vector<epoll_event> events(256);
    Clock::time_point next_tick;
    while (true) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()),
                                   static_cast<int>(kTick.count()));
      for (int i = 0; i < count; ++i) {
        auto* watcher = static_cast<Watcher*>(events[static_cast<std::size_t>(i)].data.ptr);
        if (watcher == nullptr) {
          if (!TakeInput()) return;
        } else if (!watcher->Handle(epoll_, events[static_cast<std::size_t>(i)].events, buffer_)) {
          watcher->Close();
          lost_.push_back(watcher);
        }
      }
      if (const auto now = Clock::now(); now >= next_tick) {
        next_tick = now + kTick;
        for (Watcher* watcher : lost_) Open(*watcher);
        lost_.clear();
        for (const auto& watcher : watchers_) {
          if (watcher->Tired(now)) Open(*watcher);
        }
      }
    }
  }

 private:
  void Open(Watcher& watcher) {
    watcher.Open(epoll_, address_, target_, opened_++ % 2 == 0, 1 + chance_() % kEventsOfAVisit);
  }

  bool TakeInput() {
    char piece[256];
    const ssize_t got = read(STDIN_FILENO, piece, sizeof piece);
    if (got <= 0) return false;
    input_.append(piece, static_cast<std::size_t>(got));
    for (std::size_t end = input_.find('\n'); end != std::string::npos; end = input_.find('\n')) {
      if (input_.substr(0, end) == "content") {
        TellContent();
      } else {
        Report();
      }
      std::fflush(stdout);
      input_.erase(0, end + 1);
    }
    return true;
  }

  void Report() const {
    std::size_t synced = 0, all = 0;
    std::set<std::uint64_t> contents;
    for (const auto& watcher : watchers_) {
      if (watcher->role() == Role::kIdle) continue;
      ++all;
      if (watcher->synced()) ++synced;
      contents.insert(watcher->Digest());
    }
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto cpu_ms = (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                        (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
    std::printf(
        R"({"watchers":%zu,"synced":%zu,"contents":%zu,"events":%llu,"bytes":%llu,)"
        R"("connects":%llu,"resets":%llu,"cut":%llu,"refused":%llu,"cpu_ms":%ld,"errors":[)",
        all, synced, contents.size(), Wide(totals_.events), Wide(totals_.bytes),
        Wide(totals_.connects), Wide(totals_.resets), Wide(totals_.cut), Wide(totals_.refused),
        cpu_ms);
    for (std::size_t i = 0; i < totals_.errors.size(); ++i) {
      std::printf("%s\"", i == 0 ? "" : ",");
      for (const char byte : totals_.errors[i]) {
        std::putchar(byte == '"' || byte == '\\' || byte < ' ' ? '\'' : byte);
      }
      std::printf("\"");
    }
    std::printf("]}\n");
  }

  void TellContent() const {
    const std::vector<Held>& held = watchers_.front()->held();
    const char* separator = "";
    std::printf("{");
    for (std::size_t i = 0; i < held.size(); ++i) {
      if (!held[i].there) continue;
      std::printf(R"(%s"%s":["%016llx-%016llx",%u])", separator, names_.at(i).c_str(),
                  Wide(held[i].version.hlc), Wide(held[i].version.origin), held[i].value);
      separator = ",";
    }
    std::printf("}\n");
  }

  static unsigned long long Wide(std::uint64_t number) { return number; }

  const std::string target_;
  const int epoll_ = epoll_create1(EPOLL_CLOEXEC);
  sockaddr_in address_{};
  Names names_;
  Totals totals_;
  std::vector<std::unique_ptr<Watcher>> watchers_;
  std::vector<Watcher*> lost_;  // which try again soon
  std::vector<char> buffer_ = std::vector<char>(1 << 17);
  std::uint64_t opened_ = 0;
  std::minstd_rand chance_;
  std::string input_;
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A crowd that watches a daemon."};
  Options options;
  app.add_option("address", options.address)->required();
  app.add_option("--readers", options.readers)->check(CLI::PositiveNumber);
  app.add_option("--idle", options.idle)->check(CLI::NonNegativeNumber);
  app.add_option("--returning", options.returning)->check(CLI::NonNegativeNumber);
  app.add_option("--target", options.target);
  CLI11_PARSE(app, argc, argv);
  try {
    Crowd(options).Run();
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
