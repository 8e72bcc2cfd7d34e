#include "rpc/write_gate.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

namespace podmirror::rpc {
namespace {

using Next = WriteGate::Next;

TEST_CASE("one owner at a time, and no wake is lost") {
  WriteGate gate;
  CHECK(gate.Wake() == Next::kNothing);  // the creator is still at work
  CHECK(gate.Idle() == Next::kPump);     // and has to look again
  CHECK(gate.Idle() == Next::kNothing);
  CHECK(gate.Wake() == Next::kPump);
  CHECK(gate.Wake() == Next::kNothing);
  CHECK(gate.Wake() == Next::kNothing);
  CHECK(gate.Idle() == Next::kPump);
  CHECK(gate.Idle() == Next::kNothing);
}

TEST_CASE("an idle stream ends at its close, once") {
  WriteGate gate;
  CHECK(gate.Idle() == Next::kNothing);
  CHECK(gate.Close() == Next::kEnd);
  CHECK(gate.Close() == Next::kNothing);
  CHECK(gate.Wake() == Next::kNothing);
  CHECK(gate.closing());
}

TEST_CASE("a close during a write cancels it, and the last to leave ends the stream") {
  SECTION("the owner is the last") {
    WriteGate gate;
    CHECK(gate.Close() == Next::kCancel);
    CHECK(gate.Leave() == Next::kNothing);
    CHECK(gate.Wake() == Next::kNothing);
    CHECK(gate.Fail() == Next::kEnd);
  }
  SECTION("the canceller is the last") {
    WriteGate gate;
    CHECK(gate.Close() == Next::kCancel);
    CHECK(gate.Idle() == Next::kNothing);
    CHECK(gate.Leave() == Next::kEnd);
  }
}

TEST_CASE("a failed write ends the stream") {
  WriteGate gate;
  CHECK(gate.Fail() == Next::kEnd);
  CHECK(gate.Close() == Next::kNothing);
}

TEST_CASE("under many wakes and one close there is one owner and one end") {
  for (int round = 0; round < 200; ++round) {
    WriteGate gate;
    std::atomic<int> owners{0};
    std::atomic<int> ends{0};
    std::atomic<bool> overlap{false};
    const auto act = [&](Next next) {
      for (;;) {
        switch (next) {
          case Next::kNothing:
            return;
          case Next::kPump:
            if (owners.fetch_add(1) != 0) overlap = true;
            std::this_thread::yield();  // so that another one can come meanwhile
            owners.fetch_sub(1);
            next = gate.Idle();
            continue;
          case Next::kCancel:
            next = gate.Leave();
            continue;
          case Next::kEnd:
            if (owners.load() != 0) overlap = true;
            ends.fetch_add(1);
            return;
        }
      }
    };
    act(Next::kPump);  // the creator
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) act(gate.Wake());
      });
    }
    threads.emplace_back([&] { act(gate.Close()); });
    for (std::thread& thread : threads) thread.join();
    CHECK(ends == 1);
    CHECK_FALSE(overlap);
  }
}

}  // namespace
}  // namespace podmirror::rpc
