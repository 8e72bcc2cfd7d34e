#include "rpc/callers.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "certs/test_keyring.h"

namespace podmirror::rpc {
namespace {

using testing::TestAuthority;
using testing::TestKeyring;
using Remembered = std::shared_ptr<const trust::Presented>;

struct Fixture {
  // A certificate that takes so many bytes: what stands behind it in a file is passed over.
  std::string Padded(std::size_t bytes) const {
    std::string pem = leaf.cert;
    REQUIRE(pem.size() <= bytes);
    pem.resize(bytes, ' ');
    return pem;
  }
  // Presents `pem` on `count` connections. What was forgotten since is gone.
  std::vector<std::weak_ptr<const trust::Presented>> Connect(std::size_t count,
                                                             const std::string& pem) {
    std::vector<std::weak_ptr<const trust::Presented>> all;
    for (std::size_t i = 0; i < count; ++i) {
      all.push_back(callers.Presented(AddressOf(i), pem));
    }
    return all;
  }
  static std::string AddressOf(std::size_t number) {
    return "ipv4:10.0.0.1:" + std::to_string(number);
  }
  static std::size_t Living(const std::vector<std::weak_ptr<const trust::Presented>>& all) {
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [](const auto& one) { return !one.expired(); }));
  }

  TestAuthority authority{"ca"};
  TestKeyring keyring{authority, authority.Issue("daemon")};
  TestAuthority::Leaf leaf = authority.IssueFor({.common_name = "c", .names = ""});
  Callers callers{keyring.get(), Env::Real()};
};

TEST_CASE("callers: a connection is remembered with what was presented on it") {
  Fixture f;
  const std::string other = f.authority.Issue("other").cert;
  const Remembered first = f.callers.Presented("ipv4:10.0.0.1:1", f.leaf.cert);
  REQUIRE(first);
  CHECK(first->names().common_name == "c");
  CHECK(first->Check(*f.keyring.get()->current()).ok());
  CHECK(f.callers.Presented("ipv4:10.0.0.1:1", f.leaf.cert) == first);
  const Remembered second = f.callers.Presented("ipv4:10.0.0.1:2", f.leaf.cert);
  CHECK(second != first);
  // The address was given to another connection.
  const Remembered third = f.callers.Presented("ipv4:10.0.0.1:1", other);
  REQUIRE(third);
  CHECK(third->names().common_name == "other");
  CHECK(f.callers.Presented("ipv4:10.0.0.1:1", other) == third);
  CHECK(f.callers.Presented("ipv4:10.0.0.1:2", f.leaf.cert) == second);
}

TEST_CASE("callers: a new connection from where one came before is looked at anew") {
  Fixture f;
  const auto [ip, address] =
      GENERATE(std::pair<std::string, std::string>("10.0.0.1", "ipv4:10.0.0.1:51234"),
               std::pair<std::string, std::string>("fd00::7", "ipv6:%5Bfd00::7%5D:51234"));
  const Remembered first = f.callers.Presented(address, f.leaf.cert);
  REQUIRE(f.callers.Admit(ip, 51235));
  CHECK(f.callers.Presented(address, f.leaf.cert) == first);
  REQUIRE(f.callers.Admit(ip, 51234));
  const Remembered second = f.callers.Presented(address, f.leaf.cert);
  REQUIRE(second);
  CHECK(second != first);
}

TEST_CASE("callers: what is remembered is judged by the authorities as they are now") {
  Fixture f;
  const TestAuthority fresh("fresh");
  const Remembered before = f.callers.Presented("ipv4:10.0.0.1:1", f.leaf.cert);
  REQUIRE(f.keyring.ReplaceAuthorities(fresh.pem()) == trust::Looked::kTaken);
  const Remembered after = f.callers.Presented("ipv4:10.0.0.1:1", f.leaf.cert);
  CHECK(after == before);
  CHECK_FALSE(after->Check(*f.keyring.get()->current()).ok());
}

TEST_CASE("callers: large certificates take no more room than others") {
  Fixture f;
  constexpr std::size_t kBytes = 64 * 1024;
  constexpr std::size_t kMost = Callers::kMaxKnownBytes / kBytes;
  const std::string pem = f.Padded(kBytes);
  const auto all = f.Connect(kMost, pem);
  CHECK(f.Living(all) == kMost);
  f.callers.Presented("ipv4:10.0.0.2:1", pem);
  CHECK(f.Living(all) == kMost / 2);  // the others may all come at once
  const auto more = f.Connect(3 * kMost, pem);
  CHECK(f.Living(more) <= kMost);
  CHECK(f.Living(more) >= kMost / 2);
}

TEST_CASE("callers: what is presented anew on a connection replaces what was there") {
  Fixture f;
  constexpr std::size_t kBytes = 64 * 1024;
  const Remembered kept = f.callers.Presented("ipv4:10.0.0.2:1", f.leaf.cert);
  for (std::size_t i = 0; i < 3 * Callers::kMaxKnownBytes / kBytes; ++i) {
    f.callers.Presented("ipv4:10.0.0.1:1", f.Padded(kBytes - i));
  }
  CHECK(f.callers.Presented("ipv4:10.0.0.2:1", f.leaf.cert) == kept);
}

TEST_CASE("callers: many connections are remembered, and not without end") {
  Fixture f;
  REQUIRE(f.leaf.cert.size() * Callers::kMaxKnown < Callers::kMaxKnownBytes);
  auto all = f.Connect(Callers::kMaxKnown, f.leaf.cert);
  CHECK(f.Living(all) == Callers::kMaxKnown);
  const Remembered last = f.callers.Presented("ipv4:10.0.0.2:1", f.leaf.cert);
  REQUIRE(f.Living(all) == Callers::kMaxKnown / 2);
  CHECK(f.callers.Presented("ipv4:10.0.0.2:1", f.leaf.cert) == last);
  // Who was forgotten is checked anew, and then remembered.
  std::size_t gone = 0;
  while (!all[gone].expired()) ++gone;
  const Remembered again = f.callers.Presented(Fixture::AddressOf(gone), f.leaf.cert);
  REQUIRE(again);
  CHECK(again->Check(*f.keyring.get()->current()).ok());
  CHECK(f.callers.Presented(Fixture::AddressOf(gone), f.leaf.cert) == again);
}

TEST_CASE("callers: the IP of an address as gRPC writes it") {
  CHECK(IpOf("ipv4:10.0.0.7:51234") == "10.0.0.7");
  CHECK(IpOf("ipv6:%5Bfd00::7%5D:51234") == "fd00::7");
  CHECK(IpOf("ipv6:[fd00::7]:51234") == "fd00::7");
  CHECK(IpOf("") == "");
}

}  // namespace
}  // namespace podmirror::rpc
