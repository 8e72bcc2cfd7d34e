#include "rpc/connection_limit.h"

#include <catch2/catch.hpp>
#include <string>

namespace podmirror::rpc {
namespace {

constexpr SteadyMs kBack = ConnectionLimit::kBackAfterMs;

void Refuse(ConnectionLimit& limit, const std::string& ip, int times, SteadyMs now) {
  for (int i = 0; i < times; ++i) limit.Refused(ip, now);
}

TEST_CASE("who is refused too often is kept out, and gets one more try in each second") {
  ConnectionLimit limit;
  CHECK(limit.Allows("10.0.0.1", 5000));
  Refuse(limit, "10.0.0.1", ConnectionLimit::kFree - 1, 5000);
  CHECK(limit.Allows("10.0.0.1", 5000));
  Refuse(limit, "10.0.0.1", 1, 5000);
  CHECK_FALSE(limit.Allows("10.0.0.1", 5000));
  CHECK_FALSE(limit.Allows("10.0.0.1", 5000 + kBack - 1));
  CHECK(limit.Allows("10.0.0.1", 5000 + kBack));
  Refuse(limit, "10.0.0.1", 1, 5000 + kBack);
  CHECK_FALSE(limit.Allows("10.0.0.1", 5000 + kBack));
}

TEST_CASE("more refusals do not make the wait longer, and all of them are forgotten") {
  ConnectionLimit limit;
  Refuse(limit, "10.0.0.1", 1'000'000, 0);
  CHECK(limit.Allows("10.0.0.1", kBack));
  const SteadyMs later = ConnectionLimit::kFree * kBack;
  Refuse(limit, "10.0.0.1", ConnectionLimit::kFree - 1, later);
  CHECK(limit.Allows("10.0.0.1", later));
}

TEST_CASE("nobody is kept out for another address") {
  ConnectionLimit limit;
  Refuse(limit, "10.0.0.1", 100, 0);
  Refuse(limit, "fd00::1:2:3:4", 100, 0);
  CHECK(limit.Allows("10.0.0.2", 0));
  CHECK_FALSE(limit.Allows("fd00::1:2:3:4", 0));
  CHECK(limit.Allows("fd00::1:2:3:5", 0));
}

TEST_CASE("however many addresses are refused, others are let in") {
  ConnectionLimit limit;
  for (int i = 0; i < 100'000; ++i) limit.Refused("10.0.0." + std::to_string(i), i / 100);
  CHECK(limit.Allows("10.0.0.1", 1000));
}

}  // namespace
}  // namespace podmirror::rpc
