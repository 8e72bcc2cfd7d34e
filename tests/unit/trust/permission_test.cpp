#include "trust/permission.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <string>

namespace podmirror::trust {
namespace {

constexpr std::int32_t kMin = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kMax = std::numeric_limits<std::int32_t>::max();

TEST_CASE("a verb has a name of its own") {
  std::set<std::string_view> names;
  for (const Verb verb : kVerbs) names.insert(ToString(verb));
  CHECK(names == std::set<std::string_view>{"read", "watch", "write", "delete", "status", "metrics",
                                            "admin"});
}

TEST_CASE("a set of verbs has what was added, and no more") {
  VerbSet verbs{Verb::kRead, Verb::kAdmin};
  CHECK(verbs.Has(Verb::kRead));
  CHECK(verbs.Has(Verb::kAdmin));
  CHECK_FALSE(verbs.Has(Verb::kWrite));
  verbs.Add(VerbSet{Verb::kWrite, Verb::kRead});
  CHECK(verbs == VerbSet{Verb::kRead, Verb::kWrite, Verb::kAdmin});
  CHECK(VerbSet().empty());
  CHECK_FALSE(verbs.empty());
}

TEST_CASE("without grants nothing is permitted") {
  const Permissions none;
  for (const Verb verb : kVerbs) {
    CHECK_FALSE(none.Allows(verb, 0, ""));
    CHECK_FALSE(none.AllowsSome(verb));
    CHECK_FALSE(none.AllowsSomeOf(verb, 0));
    CHECK_FALSE(none.AllowsAllOf(verb, 0));
    CHECK_FALSE(none.AllowsAll(verb));
  }
  CHECK(none.grants().empty());
}

TEST_CASE("everything is each verb on each key of each type") {
  const Permissions everything = Permissions::Everything();
  for (const Verb verb : kVerbs) {
    for (const std::int32_t type : {kMin, -1, 0, kMax}) {
      CHECK(everything.Allows(verb, type, ""));
      CHECK(everything.Allows(verb, type, "shop/1"));
      CHECK(everything.AllowsSomeOf(verb, type));
      CHECK(everything.AllowsAllOf(verb, type));
    }
    CHECK(everything.AllowsSome(verb));
    CHECK(everything.AllowsAll(verb));
  }
  CHECK(everything.grants().size() == 1);
}

TEST_CASE("a grant covers its verbs, its types and what is below its prefix") {
  const Permissions shop({Grant{{Verb::kRead, Verb::kWrite}, {1, 2}, "shop/"}});
  CHECK(shop.Allows(Verb::kRead, 1, "shop/7"));
  CHECK(shop.Allows(Verb::kWrite, 2, "shop/"));
  CHECK_FALSE(shop.Allows(Verb::kDelete, 1, "shop/7"));
  CHECK_FALSE(shop.Allows(Verb::kRead, 3, "shop/7"));
  CHECK_FALSE(shop.Allows(Verb::kRead, 1, "shop"));
  CHECK_FALSE(shop.Allows(Verb::kRead, 1, "shops/7"));
  CHECK_FALSE(shop.Allows(Verb::kRead, 1, "Shop/7"));
  CHECK_FALSE(shop.Allows(Verb::kRead, 1, ""));
  CHECK_FALSE(shop.Allows(Verb::kRead, 1, "a/shop/7"));

  CHECK(shop.AllowsSome(Verb::kRead));
  CHECK_FALSE(shop.AllowsSome(Verb::kWatch));
  CHECK(shop.AllowsSomeOf(Verb::kRead, 2));
  CHECK_FALSE(shop.AllowsSomeOf(Verb::kRead, 0));
  CHECK_FALSE(shop.AllowsSomeOf(Verb::kWatch, 2));
  CHECK_FALSE(shop.AllowsAllOf(Verb::kRead, 1));
  CHECK_FALSE(shop.AllowsAll(Verb::kRead));
}

TEST_CASE("every key of a type is less than every key") {
  const Permissions types({Grant{{Verb::kWatch}, {1}, ""}});
  CHECK(types.AllowsAllOf(Verb::kWatch, 1));
  CHECK_FALSE(types.AllowsAllOf(Verb::kWatch, 2));
  CHECK_FALSE(types.AllowsAll(Verb::kWatch));

  const Permissions prefix({Grant{{Verb::kWatch}, {}, "a"}});
  CHECK(prefix.AllowsSomeOf(Verb::kWatch, 2));
  CHECK_FALSE(prefix.AllowsAllOf(Verb::kWatch, 2));
  CHECK_FALSE(prefix.AllowsAll(Verb::kWatch));
}

TEST_CASE("grants do not lend each other what they lack") {
  const Permissions two({Grant{{Verb::kRead}, {1}, "a/"}, Grant{{Verb::kWrite}, {2}, "b/"}});
  CHECK(two.Allows(Verb::kRead, 1, "a/1"));
  CHECK(two.Allows(Verb::kWrite, 2, "b/1"));
  CHECK_FALSE(two.Allows(Verb::kRead, 2, "a/1"));
  CHECK_FALSE(two.Allows(Verb::kRead, 1, "b/1"));
  CHECK_FALSE(two.Allows(Verb::kWrite, 2, "a/1"));
}

TEST_CASE("a prefix ends where it likes, also within a character") {
  const Permissions umlaut({Grant{{Verb::kRead}, {}, "\xc3"}});
  CHECK(umlaut.Allows(Verb::kRead, 1, "\xc3\xbc"));
  CHECK_FALSE(umlaut.Allows(Verb::kRead, 1, "u"));
}

TEST_CASE("types are sorted, and each is there once") {
  const Permissions types({Grant{{Verb::kRead}, {7, kMax, -3, 7, kMin}, ""}});
  CHECK(types.grants()[0].types == std::vector<std::int32_t>{kMin, -3, 7, kMax});
  for (const std::int32_t type : {kMin, -3, 7, kMax}) CHECK(types.Allows(Verb::kRead, type, "k"));
  for (const std::int32_t type : {kMin + 1, 0, 6, 8}) {
    CHECK_FALSE(types.Allows(Verb::kRead, type, "k"));
  }
}

// The same by looking at each grant's words.
struct Naive {
  std::vector<Grant> grants;

  bool Any(Verb verb, const std::function<bool(const Grant&)>& rest) const {
    for (const Grant& grant : grants) {
      if (grant.verbs.Has(verb) && rest(grant)) return true;
    }
    return false;
  }
  static bool Lists(const Grant& grant, std::int32_t type) {
    return grant.types.empty() ||
           std::find(grant.types.begin(), grant.types.end(), type) != grant.types.end();
  }
};

Grant RandomGrant(std::mt19937_64& random) {
  Grant grant;
  for (const Verb verb : kVerbs) {
    if (random() % 3 == 0) grant.verbs.Add(verb);
  }
  for (auto i = random() % 4; i-- > 0;) {
    grant.types.push_back(static_cast<std::int32_t>(random() % 5) - 2);
  }
  for (auto i = random() % 3; i-- > 0;) grant.prefix += static_cast<char>('a' + random() % 2);
  return grant;
}

TEST_CASE("permissions say what a look at each grant says") {
  const std::uint64_t seed = GENERATE(range(1, 11));
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  int allowed = 0;
  int forbidden = 0;
  for (int round = 0; round < 200; ++round) {
    Naive naive;
    for (auto i = random() % 4; i-- > 0;) naive.grants.push_back(RandomGrant(random));
    const Permissions permissions(naive.grants);
    for (const Verb verb : kVerbs) {
      REQUIRE(permissions.AllowsSome(verb) == naive.Any(verb, [](const Grant&) { return true; }));
      REQUIRE(permissions.AllowsAll(verb) == naive.Any(verb, [](const Grant& grant) {
        return grant.types.empty() && grant.prefix.empty();
      }));
      for (std::int32_t type = -3; type <= 3; ++type) {
        const auto lists = [&](const Grant& grant) { return Naive::Lists(grant, type); };
        REQUIRE(permissions.AllowsSomeOf(verb, type) == naive.Any(verb, lists));
        REQUIRE(permissions.AllowsAllOf(verb, type) == naive.Any(verb, [&](const Grant& grant) {
          return lists(grant) && grant.prefix.empty();
        }));
        for (const std::string key : {"", "a", "b", "ab", "ba", "bbb"}) {
          const bool allows = permissions.Allows(verb, type, key);
          REQUIRE(allows == naive.Any(verb, [&](const Grant& grant) {
            return lists(grant) && key.substr(0, grant.prefix.size()) == grant.prefix;
          }));
          ++(allows ? allowed : forbidden);
        }
      }
    }
  }
  CHECK(allowed > 1000);
  CHECK(forbidden > 1000);
}

}  // namespace
}  // namespace podmirror::trust
