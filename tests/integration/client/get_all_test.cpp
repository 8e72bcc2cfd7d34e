// GetAll: streamed, held up by a slow reader, ended early, broken off.
#include <set>

#include "integration/client/client_testing.h"

namespace podmirror::client {
namespace {

using Mode = FakeCache::Mode;

TEST_CASE("every entry comes once") {
  FakeCache a;
  a.messages = 50;
  a.entries_per_message = 20;
  Tested client({a.port()});
  std::set<std::string> keys;
  CHECK(client
            ->GetAll({.prefix = "p-"},
                     [&](const Entry& entry) { return keys.insert(entry.key).second; })
            .ok());
  CHECK(keys.size() == 1000);
  CHECK(keys.begin()->starts_with("p-"));
  CHECK(client->GetAll({.prefix = "\xff"}, [](const Entry&) { return true; }).code() ==
        Code::kInvalid);
}

TEST_CASE("a slow reader holds up the daemon, and its callback may take longer than the deadline") {
  FakeCache a;
  a.messages = 100;
  a.entries_per_message = 1;
  a.entry_bytes = 1 << 20;
  Tested client({a.port()}, {.deadline = milliseconds(1000)});
  int given = 0;
  const Status status = client->GetAll({}, [&](const Entry&) {
    if (++given == 1) {
      // Sending stops: nothing new in so many looks.
      int last = -1, same = 0;
      CHECK(Eventually([&] {
        same = a.messages_sent == last ? same + 1 : 0;
        last = a.messages_sent;
        return same == 600;
      }));
      CHECK(last < 50);
    }
    return true;
  });
  INFO(status.ToString());
  CHECK(status.ok());
  CHECK(given == 100);
}

TEST_CASE("the reader ends it") {
  FakeCache a;
  a.messages = 1000;
  a.entries_per_message = 1;
  a.entry_bytes = 1 << 20;
  Tested client({a.port()});
  int given = 0;
  CHECK(client->GetAll({}, [&](const Entry&) { return ++given < 3; }).ok());
  CHECK(given == 3);
  CHECK(a.messages_sent < 100);
  CHECK(client->GetDaemons().daemons[0].state == DaemonState::kReady);
}

TEST_CASE("another daemon gives the entries while none has been given") {
  FakeCache a, b;
  a.messages = b.messages = 3;
  a.entries_per_message = 0;
  b.entries_per_message = 5;
  a.break_off = true;
  Tested client({a.port(), b.port()});
  REQUIRE(client.WaitReady(2));
  int given = 0;
  const auto count = [&](const Entry&) { return ++given > 0; };
  CHECK(client->GetAll({}, count).ok());
  CHECK(given == 15);
  CHECK(a.streams == 1);

  REQUIRE(client.WaitReady(2));
  b.mode = Mode::kHang;
  a.break_off = false;
  given = 0;
  CHECK(client->GetAll({}, count).ok());
  CHECK(client->GetAll({}, count).ok());
  CHECK(given == 0);
}

TEST_CASE("what breaks off later is told, not begun again") {
  FakeCache a, b;
  for (FakeCache* daemon : {&a, &b}) {
    daemon->messages = 3;
    daemon->entries_per_message = 5;
    daemon->break_off = true;
  }
  Tested client({a.port(), b.port()});
  int given = 0;
  const Status status = client->GetAll({}, [&](const Entry&) { return ++given > 0; });
  CHECK(status.code() == Code::kUnavailable);
  CHECK(status.message().find("after 15 entries") != std::string::npos);
  CHECK(given == 15);
  CHECK(a.streams + b.streams == 1);
}

TEST_CASE("a daemon that hangs between messages is given up") {
  FakeCache a;
  Tested client({a.port()}, {.deadline = milliseconds(300)});
  REQUIRE(client.WaitReady(1));
  a.messages = 2;
  a.entries_per_message = 1;
  a.hang_after_first = true;
  const Stopwatch watch;
  const Status status = client->GetAll({}, [](const Entry&) { return true; });
  CHECK(status.code() == Code::kDeadline);
  CHECK(status.message().find("after 1 entries") != std::string::npos);
  CHECK(watch.elapsed() < milliseconds(1500));
}

}  // namespace
}  // namespace podmirror::client
