#include "net/grpc_queue.h"

#include <grpcpp/alarm.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <future>
#include <memory>
#include <thread>

namespace podmirror::net {
namespace {

// An operation of gRPC that is over at a time of our choice.
struct Operation {
  void Start(GrpcQueue& queue, std::int64_t ms, Event::Reaction reaction) {
    const auto at = std::chrono::system_clock::now() + std::chrono::milliseconds(ms);
    queue.Start([&] { alarm.Set(queue.queue(), at, event.Expect(std::move(reaction))); });
  }
  grpc::Alarm alarm;
  Event event;
};

TEST_CASE("an operation that takes a while is told on the queue's thread") {
  GrpcQueue queue;
  Operation operation;
  std::promise<std::thread::id> told;
  operation.Start(queue, 20, [&](bool ok) {
    CHECK(ok);
    told.set_value(std::this_thread::get_id());
  });
  CHECK(told.get_future().get() != std::this_thread::get_id());
}

TEST_CASE("an operation that is over at once is told by the thread that started it") {
  GrpcQueue queue;
  Operation operation;
  std::thread::id told;
  operation.Start(queue, -1000, [&](bool) { told = std::this_thread::get_id(); });
  CHECK(told == std::this_thread::get_id());
}

TEST_CASE("what reactions start is told after them, and keeps a caller for a few only") {
  constexpr int kMany = 1000;
  struct Chain {
    void Next() {
      thread_local int depth = 0;
      if (++depth > deepest) deepest = depth;
      if (std::this_thread::get_id() == caller) ++by_caller;
      if (++count < kMany) {
        operations[count % 2].Start(queue, -1000, [this](bool) { Next(); });
      } else {
        done.set_value();
      }
      --depth;
    }
    GrpcQueue queue = {};
    Operation operations[2] = {};
    const std::thread::id caller = std::this_thread::get_id();
    std::atomic<int> count{0};
    std::atomic<int> by_caller{0};
    std::atomic<int> deepest{0};
    std::promise<void> done = {};
  } chain;
  chain.operations[0].Start(chain.queue, -1000, [&](bool) { chain.Next(); });
  chain.done.get_future().get();
  chain.queue.Stop();
  CHECK(chain.count == kMany);
  CHECK(chain.deepest == 1);
  CHECK(chain.by_caller > 1);
  CHECK(chain.by_caller < 100);
}

TEST_CASE("a reaction may destroy the operation that it ends") {
  GrpcQueue queue;
  auto operation = std::make_unique<Operation>();
  Operation& started = *operation;
  std::promise<void> told;
  started.Start(queue, 5, [&told, operation = std::move(operation)](bool) mutable {
    operation.reset();
    told.set_value();
  });
  told.get_future().get();
}

TEST_CASE("stop waits for what is under way") {
  GrpcQueue queue;
  Operation operation;
  bool told = false;
  operation.Start(queue, 50, [&](bool ok) { told = ok; });
  queue.Stop();
  CHECK(told);
  queue.Stop();
}

}  // namespace
}  // namespace podmirror::net
