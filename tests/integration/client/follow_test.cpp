// Who gets the calls, while daemons come, go, and get stuck; and how a client ends.
#include <absl/synchronization/notification.h>

#include <array>
#include <future>
#include <thread>

#include "integration/client/client_testing.h"

namespace podmirror::client {
namespace {

using Mode = FakeCache::Mode;

TEST_CASE("each daemon gets the same number of calls") {
  FakeCache daemons[3];
  Tested client({daemons[0].port(), daemons[1].port(), daemons[2].port()});
  REQUIRE(client.WaitReady(3));
  for (int i = 0; i < 300; ++i) static_cast<void>(client->Get(1, "k"));
  for (const FakeCache& daemon : daemons) CHECK(daemon.gets == 100);
  for (const Daemon& daemon : client->GetDaemons().daemons) CHECK(daemon.calls == 100);
}

TEST_CASE("a daemon that is found gets its share, one that left gets no more") {
  FakeCache a, b;
  Tested client({a.port()});
  CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  const Stopwatch watch;
  client.source->Tell({a.port(), b.port()});
  while (b.gets < 10) static_cast<void>(client->Get(1, "k"));
  CHECK(watch.elapsed() < milliseconds(2000));

  client.source->Tell({b.port()});
  const int before = a.gets;
  for (int i = 0; i < 20; ++i) static_cast<void>(client->Get(1, "k"));
  CHECK(a.gets == before);
  CHECK(client->GetDaemons().daemons.size() == 1);
}

TEST_CASE("a list that is suddenly empty is not believed") {
  FakeCache a, b;
  Tested client({a.port(), b.port()});
  REQUIRE(client.WaitReady(2));
  client.source->Tell({});
  CHECK(client->GetDaemons().daemons.size() == 2);
  CHECK(client->GetDaemons().discovery_error == "none is listed");
  CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  client.source->Tell({b.port()});
  CHECK(client->GetDaemons().daemons.size() == 1);
  CHECK(client->GetDaemons().discovery_error.empty());
}

TEST_CASE("a call that runs at a daemon that leaves is answered by it") {
  FakeCache a, b;
  Tested client({a.port()}, {.deadline = milliseconds(10'000)});
  REQUIRE(client.WaitReady(1));
  a.mode = Mode::kHang;
  Code code = Code::kInternal;
  std::thread caller([&] { code = client->Set({{1, "k", "v", {}}}).status().code(); });
  CHECK(Eventually([&] { return a.hanging > 0; }));
  client.source->Tell({b.port()});
  CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  a.mode = Mode::kReady;
  caller.join();
  CHECK(code == Code::kOk);
  CHECK(a.Value(1, "k") == "v");
  CHECK(b.sets == 0);
}

TEST_CASE("a daemon that is started later is found within 2 s") {
  FakeCache a, b;
  b.Stop();
  Tested client({a.port(), b.port()});
  CHECK(Eventually([&] { return client->GetDaemons().daemons[1].state == DaemonState::kFailed; }));
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 10; ++i) CHECK_FALSE(client->Get(1, "k").status().code() == Code::kOk);
    b.Start();
    const Stopwatch watch;
    const int before = b.gets;
    CHECK(Eventually([&] {
      static_cast<void>(client->Get(1, "k"));
      return b.gets > before;
    }));
    CHECK(watch.elapsed() < milliseconds(2000));
    b.Stop();
  }
}

TEST_CASE("a connection that is stuck for good is replaced") {
  FakeCache a;
  CutProxy proxy(a.port());
  Tested client({proxy.port()}, {.deadline = milliseconds(300)});
  REQUIRE(client.WaitReady(1));
  proxy.Freeze();
  CHECK(client->Get(1, "k").status().code() == Code::kDeadline);
  CHECK(client.WaitReady(1));
  CHECK(client->Get(1, "k").status().code() == Code::kNotFound);
  CHECK(proxy.made() == 2);
}

TEST_CASE("many threads, while daemons come and go") {
  FakeCache a, b, c;
  Tested client({a.port(), b.port(), c.port()});
  std::atomic<bool> over{false};
  std::atomic<int> failed{0}, reads{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      while (!over) {
        failed += client->Get(1, "k").status().code() == Code::kNotFound ? 0 : 1;
        static_cast<void>(client->GetAll({}, [](const Entry&) { return true; }));
        ++reads;
      }
    });
  }
  for (int round = 0; round < 5; ++round) {
    const int before = reads;
    client.source->Tell({a.port(), b.port()});
    b.Stop();
    CHECK(Eventually([&] { return reads > before + 20; }));
    b.Start();
    client.source->Tell({a.port(), b.port(), c.port()});
    CHECK(client.WaitReady(3));
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  CHECK(failed == 0);
}

TEST_CASE("the end of a client ends its calls") {
  FakeCache a;
  a.mode = Mode::kReady;
  Tested client({a.port()}, {.deadline = milliseconds(60'000)});
  REQUIRE(client.WaitReady(1));
  a.mode = Mode::kHang;
  Code read = Code::kOk, written = Code::kOk;
  Client* const ending = client.client.release();
  std::thread reader([&] { read = ending->Get(1, "k").status().code(); });
  std::thread writer([&] { written = ending->Set({{1, "k", "v", {}}}).status().code(); });
  CHECK(Eventually([&] { return a.hanging >= 2; }));
  const Stopwatch watch;
  delete ending;
  CHECK(watch.elapsed() < milliseconds(2000));
  reader.join();
  writer.join();
  CHECK(read == Code::kUnavailable);
  CHECK(written == Code::kUncertain);
}

TEST_CASE("the end of a client ends calls that wait for a daemon") {
  Tested client({}, {.deadline = milliseconds(20'000), .max_calls = 1});
  Client* const ending = client.client.release();
  std::array<Status, 2> statuses;
  std::atomic<int> ended{0};
  std::vector<std::thread> callers;
  for (Status& status : statuses) {
    callers.emplace_back([&status, &ended, ending] {
      status = ending->Get(1, "k").status();
      ++ended;
    });
  }
  // There is room for one: when the other is turned away, it waits.
  CHECK(Eventually([&] { return ended == 1; }));
  const Stopwatch watch;
  delete ending;
  CHECK(watch.elapsed() < milliseconds(2000));
  for (std::thread& caller : callers) caller.join();
  const bool first_waited = statuses[1].code() == Code::kExhausted;
  CHECK(statuses[first_waited ? 1 : 0].code() == Code::kExhausted);
  CHECK(statuses[first_waited ? 0 : 1].code() == Code::kUnavailable);
}

TEST_CASE("what is left of the last message when the client ends is not passed over as if read") {
  FakeCache a;
  a.messages = 1;
  a.entries_per_message = 3;
  Tested client({a.port()}, {.deadline = milliseconds(20'000)});
  REQUIRE(client.WaitReady(1));
  absl::Notification inside, go_on;
  Client* const ending = client.client.release();
  Status status;
  int given = 0;
  std::thread reader([&] {
    status = ending->GetAll({}, [&](const Entry&) {
      if (++given == 1) {
        inside.Notify();
        go_on.WaitForNotification();
      }
      return true;
    });
  });
  inside.WaitForNotification();
  // A call that hangs shows when the end has begun.
  a.mode = Mode::kHang;
  std::thread other([&] { static_cast<void>(ending->Get(1, "k")); });
  CHECK(Eventually([&] { return a.hanging > 0; }));
  std::thread ender([ending] { delete ending; });
  other.join();
  go_on.Notify();
  ender.join();
  reader.join();
  CHECK(given == 1);
  CHECK(status.code() == Code::kUnavailable);
}

TEST_CASE("the end of a client waits for its callback, and none follows") {
  FakeCache a;
  a.messages = 10'000'000;  // more than can come in time
  a.entries_per_message = 10;
  Tested client({a.port()});
  absl::Notification inside, go_on;
  Client* const ending = client.client.release();
  Code code = Code::kOk;
  std::atomic<int> given{0};
  std::atomic<bool> ended{false}, after{false};
  std::thread reader([&] {
    const Status status = ending->GetAll({}, [&](const Entry&) {
      after = after || ended;
      if (++given == 15) {
        inside.Notify();
        go_on.WaitForNotification();
      }
      return true;
    });
    code = status.code();
  });
  inside.WaitForNotification();
  auto ender = std::async(std::launch::async, [ending, &ended] {
    delete ending;
    ended = true;
  });
  // It waits for the callback.
  CHECK(ender.wait_for(milliseconds(200)) == std::future_status::timeout);
  go_on.Notify();
  ender.get();
  reader.join();
  CHECK(code == Code::kUnavailable);
  CHECK_FALSE(after);
}

}  // namespace
}  // namespace podmirror::client
