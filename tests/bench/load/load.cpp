// The load that no ready-made tool makes: batches by gRPC, and writes one after another on one
// connection, for podmirror and for Redis by the same code. Ends with a line of JSON.
//
//   bench_load grpc ADDRESS --entries N [--batch 100] [--value 100] [--keys 100000] [--calls 4]
//              [--ack all|local]
//   bench_load grpc-get ADDRESS --entries N [--keys 100000] [--calls 4]   one entry a call
//   bench_load rest ADDRESS --entries N   PUTs with ack=all
//   bench_load redis ADDRESS --entries N  SET and WAIT 2, sent together
#include <grpcpp/grpcpp.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "podmirror/v1/cache.grpc.pb.h"

namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string address;
  std::uint64_t entries = 100'000;
  std::uint64_t batch = 100;
  std::uint64_t value = 100;
  std::uint64_t keys = 100'000;
  int calls = 4;
  std::string ack = "all";
};

struct Outcome {
  std::uint64_t done = 0;
  std::uint64_t errors = 0;
  std::vector<std::int64_t> nanos;  // of each call
};

std::string Key(std::uint64_t number) {
  char key[32];
  std::snprintf(key, sizeof key, "key-%014llu", static_cast<unsigned long long>(number));
  return key;
}

// --- gRPC ---

std::unique_ptr<podmirror::v1::Cache::Stub> NewStub(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  arguments.SetInt("grpc.enable_http_proxy", 0);
  return podmirror::v1::Cache::NewStub(
      grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments));
}

// Calls until all entries are done. call: with a context, and the number of the first entry of this
// call; returns whether the answer is right.
template <typename Call>
void CallAll(const Options& options, std::uint64_t batch, std::atomic<std::uint64_t>& next,
             Outcome& outcome, const Call& call) {
  while (true) {
    const std::uint64_t first = next.fetch_add(batch);
    if (first >= options.entries) return;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    if (!call(&context, first, outcome)) ++outcome.errors;
    outcome.done += batch;
  }
}

void CallSet(const Options& options, std::atomic<std::uint64_t>& next, Outcome& outcome) {
  const auto stub = NewStub(options);
  const std::string value(options.value, 'v');
  CallAll(options, options.batch, next, outcome,
          [&](grpc::ClientContext* context, std::uint64_t first, Outcome& told) {
            podmirror::v1::SetRequest request;
            for (std::uint64_t i = first; i < first + options.batch; ++i) {
              auto* item = request.add_items();
              item->set_type(1);
              item->set_key(Key(i % options.keys));
              item->set_value(value);
            }
            request.mutable_options()->set_ack(options.ack == "all"
                                                   ? podmirror::v1::ACK_LEVEL_ALL
                                                   : podmirror::v1::ACK_LEVEL_LOCAL);
            podmirror::v1::SetResponse response;
            const auto begin = Clock::now();
            const grpc::Status status = stub->Set(context, request, &response);
            told.nanos.push_back((Clock::now() - begin).count());
            return status.ok() && response.ack().met();
          });
}

void CallGet(const Options& options, std::atomic<std::uint64_t>& next, Outcome& outcome) {
  const auto stub = NewStub(options);
  CallAll(options, 1, next, outcome,
          [&](grpc::ClientContext* context, std::uint64_t number, Outcome& told) {
            podmirror::v1::GetRequest request;
            auto* key = request.add_keys();
            key->set_type(1);
            key->set_key(Key(number % options.keys));
            podmirror::v1::GetResponse response;
            const auto begin = Clock::now();
            const grpc::Status status = stub->Get(context, request, &response);
            told.nanos.push_back((Clock::now() - begin).count());
            return status.ok() && response.entries_size() == 1;
          });
}

Outcome RunGrpc(const Options& options, decltype(CallSet)* call) {
  std::atomic<std::uint64_t> next{0};
  std::vector<Outcome> outcomes(static_cast<std::size_t>(options.calls));
  std::vector<std::thread> threads;
  threads.reserve(outcomes.size());
  for (Outcome& outcome : outcomes) threads.emplace_back([&] { call(options, next, outcome); });
  for (std::thread& thread : threads) thread.join();
  Outcome all;
  for (const Outcome& outcome : outcomes) {
    all.done += outcome.done;
    all.errors += outcome.errors;
    all.nanos.insert(all.nanos.end(), outcome.nanos.begin(), outcome.nanos.end());
  }
  return all;
}

// --- one connection, one write after another ---

class Connection {
 public:
  explicit Connection(const std::string& address) {
    const std::size_t colon = address.rfind(':');
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (getaddrinfo(address.substr(0, colon).c_str(), address.substr(colon + 1).c_str(), &hints,
                    &found) != 0) {
      throw std::runtime_error("no such address: " + address);
    }
    socket_ = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    const int connected = connect(socket_, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    if (connected != 0) throw std::runtime_error("cannot connect to " + address);
    const int on = 1;
    setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const timeval limit{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { close(socket_); }

  // Sends the request and reads until `complete` says that the answer is whole.
  template <typename Complete>
  std::string_view Ask(std::string_view request, Complete complete) {
    if (send(socket_, request.data(), request.size(), 0) != static_cast<ssize_t>(request.size())) {
      throw std::runtime_error("send failed");
    }
    std::size_t size = 0;
    while (true) {
      const ssize_t got = recv(socket_, buffer_ + size, sizeof buffer_ - size, 0);
      if (got <= 0) throw std::runtime_error("no answer");
      size += static_cast<std::size_t>(got);
      const std::string_view answer(buffer_, size);
      if (complete(answer)) return answer;
    }
  }

 private:
  int socket_ = -1;
  char buffer_[16384];
};

bool HttpComplete(std::string_view answer) {
  const std::size_t head = answer.find("\r\n\r\n");
  if (head == std::string_view::npos) return false;
  const std::size_t length = answer.find("Content-Length: ");
  if (length == std::string_view::npos || length > head) throw std::runtime_error("no length");
  return answer.size() >= head + 4 + std::stoul(std::string(answer.substr(length + 16, 10)));
}

bool RedisComplete(std::string_view answer) {
  return std::count(answer.begin(), answer.end(), '\n') == 2;
}

template <typename MakeRequest, typename Complete>
Outcome RunOneByOne(const Options& options, MakeRequest make, Complete complete,
                    std::string_view good) {
  Connection connection(options.address);
  Outcome outcome;
  const std::string value(options.value, 'v');
  for (; outcome.done < options.entries; ++outcome.done) {
    const std::string request = make(Key(outcome.done % options.keys), value);
    const auto begin = Clock::now();
    const std::string_view answer = connection.Ask(request, complete);
    outcome.nanos.push_back((Clock::now() - begin).count());
    if (!answer.starts_with(good)) ++outcome.errors;
  }
  return outcome;
}

Outcome RunRest(const Options& options) {
  return RunOneByOne(
      options,
      [](const std::string& key, const std::string& value) {
        return "PUT /v1/cache/1/" + key +
               "?ack=all HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(value.size()) +
               "\r\n\r\n" + value;
      },
      HttpComplete, "HTTP/1.1 200 ");
}

Outcome RunRedis(const Options& options) {
  return RunOneByOne(
      options,
      [](const std::string& key, const std::string& value) {
        return "*3\r\n$3\r\nSET\r\n$" + std::to_string(key.size()) + "\r\n" + key + "\r\n$" +
               std::to_string(value.size()) + "\r\n" + value +
               "\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n5000\r\n";
      },
      RedisComplete, "+OK\r\n:2\r\n");
}

void Print(Outcome& outcome, double seconds) {
  std::sort(outcome.nanos.begin(), outcome.nanos.end());
  const auto percentile = [&](double share) {
    const auto last = static_cast<double>(outcome.nanos.size() - 1);
    return static_cast<double>(outcome.nanos[static_cast<std::size_t>(share * last)]) / 1000;
  };
  std::printf(R"({"requests":%llu,"errors":%llu,"seconds":%.6f,"p50_us":%.1f,"p99_us":%.1f})"
              "\n",
              static_cast<unsigned long long>(outcome.done),
              static_cast<unsigned long long>(outcome.errors), seconds, percentile(0.5),
              percentile(0.99));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Load for the benchmarks."};
  Options options;
  std::string kind;
  app.add_option("kind", kind)
      ->required()
      ->check(CLI::IsMember({"grpc", "grpc-get", "rest", "redis"}));
  app.add_option("address", options.address)->required();
  app.add_option("--entries", options.entries)->check(CLI::PositiveNumber);
  app.add_option("--batch", options.batch)->check(CLI::PositiveNumber);
  app.add_option("--value", options.value);
  app.add_option("--keys", options.keys)->check(CLI::PositiveNumber);
  app.add_option("--calls", options.calls)->check(CLI::PositiveNumber);
  app.add_option("--ack", options.ack)->check(CLI::IsMember({"all", "local"}));
  CLI11_PARSE(app, argc, argv);
  try {
    const auto begin = Clock::now();
    Outcome outcome = kind == "grpc"       ? RunGrpc(options, CallSet)
                      : kind == "grpc-get" ? RunGrpc(options, CallGet)
                      : kind == "rest"     ? RunRest(options)
                                           : RunRedis(options);
    Print(outcome, std::chrono::duration<double>(Clock::now() - begin).count());
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
