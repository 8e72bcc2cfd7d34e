#include "net/resolver.h"

#include <dlfcn.h>
#include <netdb.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <string>

#include "absl/synchronization/notification.h"

namespace {

constexpr const char* kHangs = "hangs.test";

// Never destroyed: a look-up may still look at it when the program ends.
absl::Notification& Released() {
  static auto* const released = new absl::Notification;
  return *released;
}

}  // namespace

// The dynamic linker takes this function instead of libc's: for one name it answers only when told.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  static const auto real =
      reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (real == nullptr) std::abort();
  if (name != nullptr && std::string(name) == kHangs) {
    Released().WaitForNotification();
    return EAI_AGAIN;
  }
  return real(name, service, hints, found);
}

namespace podmirror::net {
namespace {

TEST_CASE(
    "resolver: who hangs is waited for until the timeout or cancel; rearm lets it work again") {
  Resolver resolver(Env::Real());
  const auto late = resolver.Resolve({kHangs, "localhost"}, std::chrono::milliseconds(50));
  CHECK(late[0].status().code() == Code::kDeadline);

  resolver.Cancel();
  const auto cancelled = resolver.Resolve({kHangs}, std::chrono::hours(1));
  CHECK(cancelled[0].status().code() == Code::kDeadline);

  resolver.Rearm();
  const auto found = resolver.Resolve({"localhost", "127.0.0.9"}, std::chrono::hours(1));
  REQUIRE(found[0].ok());
  REQUIRE(found[1].ok());
  CHECK(*found[1] == Resolver::Addresses{"127.0.0.9"});

  Released().Notify();
  const auto answered = resolver.Resolve({kHangs}, std::chrono::hours(1));
  CHECK(answered[0].status().code() == Code::kUnavailable);
}

}  // namespace
}  // namespace podmirror::net
