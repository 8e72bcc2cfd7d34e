// The load that no ready-made tool makes: batches by gRPC, and writes one after another on one
// connection, for podmirror and for Redis by the same code. Ends with a line of JSON.
//
//   bench_load grpc ADDRESS --entries N [--batch 100] [--value 100] [--keys 100000] [--calls 4]
//              [--ack all|local]
//   bench_load grpc-get ADDRESS --entries N [--keys 100000] [--calls 4]   one entry a call
//   bench_load rest ADDRESS --entries N [--ack all|one|local] [--rate 100]    PUTs
//   bench_load redis ADDRESS --entries N   SET and WAIT 2, sent together
//   bench_load etcd ADDRESS --entries N [--rate 100]    KV.Put, one after another
//   bench_load watched ADDRESS --watch ADDRESS --entries N [--ack one]    PUTs by REST at one
//              daemon; p50_us and p99_us are of their events at a watcher of another
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "connection.h"
#include "etcd/rpc.grpc.pb.h"
#include "podmirror/v1/cache.grpc.pb.h"
#include "watched.h"

namespace {

using bench::Connection;
using bench::HttpComplete;

using Clock = std::chrono::steady_clock;
using std::chrono_literals::operator""ns;

struct Options {
  std::string address;
  std::uint64_t entries = 100'000;
  std::uint64_t batch = 100;
  std::uint64_t value = 100;
  std::uint64_t keys = 100'000;
  int calls = 4;
  std::string ack = "all";
  std::uint64_t rate = 0;  // of those that go one after another; 0 is as fast as they can
  std::string watch;
};

struct Outcome {
  std::uint64_t done = 0;
  std::uint64_t errors = 0;
  std::vector<std::int64_t> nanos;         // of each call
  std::vector<std::int64_t> answer_nanos;  // where `nanos` are of something else
};

std::string Key(std::uint64_t number) {
  char key[32];
  std::snprintf(key, sizeof key, "key-%014llu", static_cast<unsigned long long>(number));
  return key;
}

// --- gRPC ---

std::shared_ptr<grpc::Channel> NewChannel(const Options& options) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  arguments.SetInt("grpc.enable_http_proxy", 0);
  return grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments);
}

std::unique_ptr<podmirror::v1::Cache::Stub> NewStub(const Options& options) {
  return podmirror::v1::Cache::NewStub(NewChannel(options));
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

bool RedisComplete(std::string_view answer) {
  return std::count(answer.begin(), answer.end(), '\n') == 2;
}

// Calls write(number) for each entry, at the rate that is asked for; it returns whether the answer
// is right.
template <typename Write>
Outcome RunOneByOne(const Options& options, Write write) {
  Outcome outcome;
  const auto start = Clock::now();
  for (; outcome.done < options.entries; ++outcome.done) {
    if (options.rate > 0) {
      std::this_thread::sleep_until(start + outcome.done * 1'000'000'000ns / options.rate);
    }
    const auto begin = Clock::now();
    const bool good = write(outcome.done % options.keys);
    outcome.nanos.push_back((Clock::now() - begin).count());
    if (!good) ++outcome.errors;
  }
  return outcome;
}

std::string PutRequest(const Options& options, std::uint64_t number) {
  return "PUT /v1/cache/1/" + Key(number) + "?ack=" + options.ack +
         " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(options.value) + "\r\n\r\n" +
         std::string(options.value, 'v');
}

Outcome RunRest(const Options& options) {
  Connection connection(options.address);
  return RunOneByOne(options, [&](std::uint64_t number) {
    return connection.Ask(PutRequest(options, number), HttpComplete).starts_with("HTTP/1.1 200 ");
  });
}

Outcome RunRedis(const Options& options) {
  Connection connection(options.address);
  const std::string value(options.value, 'v');
  return RunOneByOne(options, [&](std::uint64_t number) {
    const std::string key = Key(number);
    const std::string request = "*3\r\n$3\r\nSET\r\n$" + std::to_string(key.size()) + "\r\n" + key +
                                "\r\n$" + std::to_string(value.size()) + "\r\n" + value +
                                "\r\n*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n5000\r\n";
    return connection.Ask(request, RedisComplete).starts_with("+OK\r\n:2\r\n");
  });
}

Outcome RunEtcd(const Options& options) {
  const auto stub = etcdserverpb::KV::NewStub(NewChannel(options));
  etcdserverpb::PutRequest request;
  request.set_value(std::string(options.value, 'v'));
  return RunOneByOne(options, [&](std::uint64_t number) {
    request.set_key(Key(number));
    etcdserverpb::PutResponse response;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return stub->Put(&context, request, &response).ok();
  });
}

Outcome RunWatched(const Options& options) {
  bench::Watched watched(options.address, options.watch);
  Outcome outcome;
  for (; outcome.done < options.entries; ++outcome.done) {
    const std::uint64_t number = outcome.done % options.keys;
    const auto took = watched.Write(PutRequest(options, number), Key(number));
    outcome.nanos.push_back(took.event.count());
    outcome.answer_nanos.push_back(took.answer.count());
  }
  return outcome;
}

double Percentile(std::vector<std::int64_t>& nanos, double share) {
  if (nanos.empty()) return 0;
  std::sort(nanos.begin(), nanos.end());
  const auto last = static_cast<double>(nanos.size() - 1);
  return static_cast<double>(nanos[static_cast<std::size_t>(share * last)]) / 1000;
}

void Print(Outcome& outcome, double seconds) {
  std::printf(R"({"requests":%llu,"errors":%llu,"seconds":%.6f,"p50_us":%.1f,"p99_us":%.1f,)"
              R"("answer_p50_us":%.1f})"
              "\n",
              static_cast<unsigned long long>(outcome.done),
              static_cast<unsigned long long>(outcome.errors), seconds,
              Percentile(outcome.nanos, 0.5), Percentile(outcome.nanos, 0.99),
              Percentile(outcome.answer_nanos, 0.5));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Load for the benchmarks."};
  Options options;
  std::string kind;
  app.add_option("kind", kind)
      ->required()
      ->check(CLI::IsMember({"grpc", "grpc-get", "rest", "redis", "etcd", "watched"}));
  app.add_option("address", options.address)->required();
  app.add_option("--entries", options.entries)->check(CLI::PositiveNumber);
  app.add_option("--batch", options.batch)->check(CLI::PositiveNumber);
  app.add_option("--value", options.value);
  app.add_option("--keys", options.keys)->check(CLI::PositiveNumber);
  app.add_option("--calls", options.calls)->check(CLI::PositiveNumber);
  app.add_option("--ack", options.ack)->check(CLI::IsMember({"all", "one", "local"}));
  app.add_option("--rate", options.rate);
  app.add_option("--watch", options.watch);
  CLI11_PARSE(app, argc, argv);
  try {
    const auto begin = Clock::now();
    Outcome outcome = kind == "grpc"       ? RunGrpc(options, CallSet)
                      : kind == "grpc-get" ? RunGrpc(options, CallGet)
                      : kind == "rest"     ? RunRest(options)
                      : kind == "redis"    ? RunRedis(options)
                      : kind == "etcd"     ? RunEtcd(options)
                                           : RunWatched(options);
    Print(outcome, std::chrono::duration<double>(Clock::now() - begin).count());
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
