#include "trust/rules.h"

#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>
#include <openssl/sha.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>

namespace podmirror::trust {
namespace {

using Roles = std::vector<std::string>;

// What most files of these tests begin with.
const std::string kRoles =
    "[[role]]\nname = 'reader'\nallow = ['read']\n"
    "[[role]]\nname = 'writer'\nallow = ['write', 'delete']\ntypes = [2, 1]\nprefix = 'shop/'\n"
    "[[role]]\nname = 'ops'\nallow = ['status', 'metrics', 'admin', 'watch']\n";

std::string HashOf(std::string_view token) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return absl::BytesToHexString(digest);
}

std::shared_ptr<const Rules> Parsed(const std::string& text) {
  const auto rules = Rules::Parse(text);
  INFO(rules.status().ToString());
  REQUIRE(rules.ok());
  return *rules;
}

// The rules that have `subjects` below the three roles.
std::shared_ptr<const Rules> With(const std::string& subjects) { return Parsed(kRoles + subjects); }

std::string Refusal(const std::string& text) {
  const auto rules = Rules::Parse(text);
  REQUIRE_FALSE(rules.ok());
  CHECK(rules.status().code() == Code::kInvalid);
  const std::string& why = rules.status().message();
  CHECK(why.size() < 256);
  CHECK(std::all_of(why.begin(), why.end(), [](char c) { return c >= ' ' && c <= '~'; }));
  return why;
}

// Of a file that has this as the lines of a role, from line 2.
std::string RoleRefusal(const std::string& lines) { return Refusal("[[role]]\n" + lines); }

// Of a file that has this as the lines of a subject, from line 6.
std::string SubjectRefusal(const std::string& lines) {
  return Refusal("[[role]]\nname = 'reader'\nallow = ['read']\n\n[[subject]]\n" + lines);
}

Claims ClaimsOf(std::string subject, std::map<std::string, std::vector<std::string>> texts = {}) {
  return {.subject = std::move(subject), .expires = 0, .texts = std::move(texts)};
}

Names NamesOf(std::string common_name, std::vector<std::string> uris = {},
              std::vector<std::string> dns = {}) {
  return {std::move(common_name), std::move(uris), std::move(dns)};
}

// --- roles ---

TEST_CASE("by an empty file nobody may do anything") {
  for (const char* text : {"", "# nothing\n", "role = []\nsubject = []\n", "\xef\xbb\xbf"}) {
    const auto rules = Parsed(text);
    CHECK(rules->ByToken("a") == nullptr);
    CHECK(rules->ByToken("") == nullptr);
    CHECK(rules->ByClaims(ClaimsOf("me"))->permissions.grants().empty());
    CHECK(rules->ByNames(NamesOf("me"))->permissions.grants().empty());
  }
}

TEST_CASE("a role is one grant") {
  const auto rules =
      With("[[subject]]\nroles = ['writer']\ntoken-sha256 = '" + HashOf("t") + "'\n");
  const auto subject = rules->ByToken("t");
  REQUIRE(subject != nullptr);
  CHECK(subject->permissions.grants() ==
        std::vector<Grant>{{{Verb::kWrite, Verb::kDelete}, {1, 2}, "shop/"}});
}

TEST_CASE("a role without types and prefix is for all keys") {
  const auto rules =
      With("[[subject]]\nroles = ['reader']\ntoken-sha256 = '" + HashOf("t") + "'\n");
  CHECK(rules->ByToken("t")->permissions.AllowsAll(Verb::kRead));
  CHECK_FALSE(rules->ByToken("t")->permissions.AllowsSome(Verb::kWatch));
}

TEST_CASE("each verb can be allowed, and types reach from end to end") {
  std::string names;
  for (const Verb verb : kVerbs) names += "'" + std::string(ToString(verb)) + "', ";
  const auto rules = Parsed("[[role]]\nname = 'all'\nallow = [" + names +
                            "]\ntypes = [2147483647, -2147483648, 0x10, 5, 5]\n"
                            "[[subject]]\nroles = ['all']\ncert = 'CN=x'\n");
  const auto subject = rules->ByNames(NamesOf("x"));
  for (const Verb verb : kVerbs) CHECK(subject->permissions.Allows(verb, 16, "k"));
  CHECK(subject->permissions.grants()[0].types ==
        std::vector<std::int32_t>{-2147483647 - 1, 5, 16, 2147483647});
}

TEST_CASE("a prefix is any text but NUL") {
  const auto rules = Parsed(
      "[[role]]\nname = 'r'\nallow = ['read']\nprefix = \"\\u00fc\\n\"\n"
      "[[subject]]\nroles = ['r']\ncert = 'CN=x'\n");
  CHECK(rules->ByNames(NamesOf("x"))->permissions.grants()[0].prefix == "\xc3\xbc\n");
}

// --- tokens ---

TEST_CASE("a token is known by its hash, in upper and lower case") {
  const auto rules =
      With("[[subject]]\nname = 'ci'\nroles = ['reader']\ntoken-sha256 = '" +
           absl::AsciiStrToUpper(HashOf("secret")) + "'\n" +
           "[[subject]]\nroles = ['ops']\ntoken-sha256 = '" + HashOf("other") + "'\n");
  REQUIRE(rules->ByToken("secret") != nullptr);
  CHECK(rules->ByToken("secret")->name == "ci");
  CHECK(rules->ByToken("secret")->roles == Roles{"reader"});
  CHECK(rules->ByToken("other")->name == "token:" + HashOf("other").substr(0, 8));
  CHECK(rules->ByToken("other")->roles == Roles{"ops"});
  for (const char* unknown : {"", "Secret", "secret ", "secre", "ci"}) {
    CHECK(rules->ByToken(unknown) == nullptr);
  }
  CHECK(rules->ByToken(HashOf("secret")) == nullptr);
}

TEST_CASE("each of many tokens is its own") {
  std::string file = kRoles;
  for (int i = 0; i < 500; ++i) {
    file += "[[subject]]\nname = 'n" + std::to_string(i) + "'\nroles = []\ntoken-sha256 = '" +
            HashOf("t" + std::to_string(i)) + "'\n";
  }
  const auto rules = Parsed(file);
  for (int i = 0; i < 500; ++i) {
    const auto subject = rules->ByToken("t" + std::to_string(i));
    REQUIRE(subject != nullptr);
    CHECK(subject->name == "n" + std::to_string(i));
    CHECK(rules->ByToken("u" + std::to_string(i)) == nullptr);
  }
}

TEST_CASE("a subject outlives its rules") {
  auto rules = With("[[subject]]\nroles = ['reader']\ntoken-sha256 = '" + HashOf("t") + "'\n");
  const auto subject = rules->ByToken("t");
  rules.reset();
  CHECK(subject->permissions.AllowsAll(Verb::kRead));
}

TEST_CASE("a subject has each of its roles once, in the order of the file") {
  const auto rules =
      With("[[subject]]\nroles = ['ops', 'reader', 'ops']\ntoken-sha256 = '" + HashOf("t") + "'\n");
  const auto subject = rules->ByToken("t");
  CHECK(subject->roles == Roles{"reader", "ops"});
  CHECK(subject->permissions.grants().size() == 2);
  CHECK(subject->permissions.Allows(Verb::kRead, 9, "k"));
  CHECK(subject->permissions.Allows(Verb::kAdmin, 9, "k"));
  CHECK_FALSE(subject->permissions.AllowsSome(Verb::kWrite));
}

// --- claims ---

TEST_CASE("a service account is known by the subject that Kubernetes gives it") {
  const auto rules = With("[[subject]]\nroles = ['reader']\nserviceaccount = 'shop/ci.a-1'\n");
  const auto subject = rules->ByClaims(ClaimsOf("system:serviceaccount:shop:ci.a-1"));
  CHECK(subject->name == "system:serviceaccount:shop:ci.a-1");
  CHECK(subject->roles == Roles{"reader"});
  for (const char* other : {"shop/ci.a-1", "system:serviceaccount:shop:ci.a-12", "",
                            "system:serviceaccount:shop/ci.a-1", "system:serviceaccount:shop"}) {
    CHECK(rules->ByClaims(ClaimsOf(other))->roles.empty());
  }
}

TEST_CASE("whom no claims match has his subject for a name and may do nothing") {
  const auto rules = With("[[subject]]\nroles = ['reader']\nserviceaccount = 'shop/ci'\n");
  const auto subject = rules->ByClaims(ClaimsOf("stranger", {{"groups", {"reader"}}}));
  REQUIRE(subject != nullptr);
  CHECK(subject->name == "stranger");
  CHECK(subject->roles.empty());
  CHECK(subject->permissions.grants().empty());
}

TEST_CASE("every claim of a subject has to be there") {
  const auto rules = With(
      "[[subject]]\nname = 'team'\nroles = ['reader']\n"
      "jwt = { iss = 'https://a.test', groups = 'shop', 'kubernetes.io' = 'x' }\n");
  const auto roles = [&](std::map<std::string, std::vector<std::string>> texts) {
    return rules->ByClaims(ClaimsOf("me", std::move(texts)))->roles;
  };
  const std::vector<std::string> iss = {"https://a.test"};
  CHECK(roles({{"iss", iss}, {"groups", {"shop"}}, {"kubernetes.io", {"x"}}}) == Roles{"reader"});
  CHECK(
      roles({{"iss", iss}, {"groups", {"a", "shop"}}, {"kubernetes.io", {"x"}}, {"more", {"y"}}}) ==
      Roles{"reader"});
  CHECK(roles({{"iss", iss}, {"groups", {"shop"}}}).empty());
  CHECK(roles({{"iss", iss}, {"groups", {}}, {"kubernetes.io", {"x"}}}).empty());
  CHECK(roles({{"iss", iss}, {"groups", {"Shop"}}, {"kubernetes.io", {"x"}}}).empty());
  CHECK(roles({{"iss", {"shop"}}, {"groups", iss}, {"kubernetes.io", {"x"}}}).empty());
  CHECK(roles({}).empty());
}

TEST_CASE("sub is a claim, and it is the subject of the token only") {
  const auto rules = With(
      "[[subject]]\nroles = ['reader']\njwt.sub = 'me'\n"
      "[[subject]]\nroles = ['ops']\n[subject.jwt]\naud = 'a'\nsub = 'me'\n");
  CHECK(rules->ByClaims(ClaimsOf("me"))->roles == Roles{"reader"});
  CHECK(rules->ByClaims(ClaimsOf("me", {{"aud", {"a"}}}))->roles == Roles{"reader", "ops"});
  CHECK(rules->ByClaims(ClaimsOf("you", {{"aud", {"a"}}}))->roles.empty());
  CHECK(rules->ByClaims(ClaimsOf("you", {{"sub", {"me"}}, {"aud", {"a"}}}))->roles.empty());
}

TEST_CASE("all subjects that match count, and the first one's name") {
  const auto rules = With(
      "[[subject]]\nname = 'first'\nroles = ['ops', 'reader']\njwt = { groups = 'a' }\n"
      "[[subject]]\nname = 'second'\nroles = ['reader', 'writer']\nserviceaccount = 'n/s'\n"
      "[[subject]]\nroles = []\njwt = { email = 'x' }\n");
  const Claims both = ClaimsOf("system:serviceaccount:n:s", {{"groups", {"b", "a", "a"}}});
  CHECK(rules->ByClaims(both)->name == "first");
  CHECK(rules->ByClaims(both)->roles == Roles{"reader", "writer", "ops"});
  CHECK(rules->ByClaims(both)->permissions.grants().size() == 3);
  CHECK(rules->ByClaims(ClaimsOf("system:serviceaccount:n:s"))->name == "second");
  CHECK(rules->ByClaims(ClaimsOf("me", {{"email", {"x"}}}))->name == "me");
}

// --- certificates ---

TEST_CASE("a certificate is known by a URI or by its common name, exactly") {
  const auto rules = With(
      "[[subject]]\nroles = ['reader']\ncert = 'spiffe://a.test/x'\n"
      "[[subject]]\nroles = ['ops']\ncert = 'CN=x'\n");
  CHECK(rules->ByNames(NamesOf("", {"spiffe://b", "spiffe://a.test/x"}))->roles == Roles{"reader"});
  CHECK(rules->ByNames(NamesOf("x"))->roles == Roles{"ops"});
  CHECK(rules->ByNames(NamesOf("x", {"spiffe://a.test/x"}))->roles == Roles{"reader", "ops"});
  for (const Names& other :
       {NamesOf("", {"spiffe://a.test/x/"}), NamesOf("", {"spiffe://a.test/X"}), NamesOf("X"),
        NamesOf("CN=x"), NamesOf("spiffe://a.test/x"), NamesOf("", {"x"}), NamesOf("", {}, {"x"}),
        NamesOf("", {}, {"spiffe://a.test/x"}), NamesOf(std::string("x\0y", 3))}) {
    CHECK(rules->ByNames(other)->roles.empty());
  }
}

TEST_CASE("a URI that looks like a common name is nobody's") {
  const auto rules = With("[[subject]]\nroles = ['ops']\ncert = 'CN=admin'\n");
  CHECK(rules->ByNames(NamesOf("", {"CN=admin"}))->roles.empty());
}

TEST_CASE("a certificate's subject has its own name, or what matched first in the file") {
  const auto rules = With(
      "[[subject]]\nroles = []\ncert = 'CN=x'\n"
      "[[subject]]\nroles = []\ncert = 'spiffe://a'\n"
      "[[subject]]\nname = 'own'\nroles = []\ncert = 'spiffe://b'\n");
  CHECK(rules->ByNames(NamesOf("x", {"spiffe://a"}))->name == "CN=x");
  CHECK(rules->ByNames(NamesOf("y", {"spiffe://z", "spiffe://a"}))->name == "spiffe://a");
  CHECK(rules->ByNames(NamesOf("y", {"spiffe://b", "spiffe://a"}))->name == "spiffe://a");
  CHECK(rules->ByNames(NamesOf("y", {"spiffe://b"}))->name == "own");
}

TEST_CASE("a certificate that is not known goes by its best name") {
  const auto rules = With("");
  CHECK(rules->ByNames(NamesOf("x", {"spiffe://a", "spiffe://b"}, {"d"}))->name == "spiffe://a");
  CHECK(rules->ByNames(NamesOf("x", {}, {"d", "e"}))->name == "d");
  CHECK(rules->ByNames(NamesOf("x"))->name == "CN=x");
  CHECK(rules->ByNames(NamesOf("x"))->permissions.grants().empty());
}

// --- what is refused ---

TEST_CASE("a file that is no TOML is refused with its line") {
  CHECK(Refusal("[[role]]\nname = \n") ==
        "line 2: Error while parsing key-value pair: expected value, saw '\\n'");
  CHECK_THAT(Refusal("\n\n[[role]\n"), Catch::StartsWith("line 3: "));
  CHECK_THAT(Refusal("[[role]]\nname = 'a'\nname = 'b'\n"), Catch::StartsWith("line 3: "));
  CHECK_THAT(Refusal("a = '\xff'\n"), Catch::Contains("utf-8"));
  CHECK_THAT(Refusal("a = '\xed\xa0\x80'\n"), Catch::StartsWith("line 1: "));
  CHECK_THAT(Refusal("a = \"\\ud800\"\n"), Catch::StartsWith("line 1: "));
  CHECK_THAT(Refusal(std::string("role = []\n\0[[role]]\n", 20)), Catch::StartsWith("line 2: "));
  CHECK_THAT(Refusal(std::string("# \0\n", 4)), Catch::StartsWith("line 1: "));
  CHECK_THAT(Refusal("a = 99999999999999999999\n"), Catch::StartsWith("line 1: "));
}

TEST_CASE("a file is bounded") {
  const std::string full((1u << 20), '#');
  CHECK(Rules::Parse(full).ok());
  CHECK(Refusal(full + "#") == "the file is larger than 1 MiB");

  std::string roles;
  for (int i = 0; i < 10'000; ++i) {
    roles += "[[role]]\nname='" + std::to_string(i) + "'\nallow=['read']\n";
  }
  CHECK(Rules::Parse(roles).ok());
  CHECK(Refusal(roles + "[[role]]\n") == "line 30001: more than 10000 of [[role]]");

  std::string subjects = "[[role]]\nname='r'\nallow=['read']\n";
  for (int i = 0; i < 10'000; ++i) {
    subjects += "[[subject]]\ncert='CN=" + std::to_string(i) + "'\nroles=['r']\n";
  }
  CHECK(Parsed(subjects)->ByNames(NamesOf("9999"))->roles == Roles{"r"});
  CHECK(Refusal(subjects + "[[subject]]\n") == "line 30004: more than 10000 of [[subject]]");
}

TEST_CASE("a file cannot nest so deep that the stack overflows") {
  std::string key = "a";
  for (int i = 0; i < 250'000; ++i) key += ".a";
  const std::string many = ": more than 8 dots outside of strings: no key has so many parts";
  CHECK(Refusal(key + " = 1") == "line 1" + many);
  CHECK(Refusal("\n[" + key + "]") == "line 2" + many);
  CHECK(Refusal("\n\n[[" + key + "]]") == "line 3" + many);
  CHECK(Refusal("x = '''\n\\'''''\ny = \"\"\"\n\\\"\"\"\"\"\"\nz = { " + key + " = 1 }") ==
        "line 5" + many);
  CHECK(Refusal("x = \"\\\"\" # \"\n" + key + " = 1") == "line 2" + many);
  CHECK(Refusal("x = 'a\\'\n" + key + " = 1") == "line 2" + many);
  CHECK(Refusal("x = '''a''''\n" + key + " = 1") == "line 2" + many);
  CHECK(Refusal("'''''' = '" + key) != "line 1" + many);
  for (const std::string open : {"[", "{a=", "[\n{a.b.c="}) {
    std::string text = "a = ";
    for (int i = 0; i < 100'000; ++i) text += open;
    CHECK_THAT(Refusal(text), Catch::Contains("exceeded maximum nested value depth"));
  }
}

TEST_CASE("dots within strings and comments are not counted") {
  const std::string dots = "a.b.c.d.e.f.g.h.i.j.k";
  CHECK(Rules::Parse("# " + dots + "\n[[role]]\nname = '" + dots + "'\nallow = [\"read\"] # " +
                     dots + "\nprefix = \"\"\"" + dots + "\"" + dots + "\"\"\"\"\"\n" +
                     "[[subject]]\nroles = []\njwt = { 'a.b.c.d.e.f.g.h.i.j' = '''" + dots +
                     "''' }\n")
            .ok());
}

TEST_CASE("keys that are not known are refused") {
  CHECK(Refusal("\nroles = []\n") ==
        "line 2: unknown key \"roles\" where only [[role]] and [[subject]] are known");
  CHECK(RoleRefusal("name = 'a'\nallow = ['read']\ntype = [1]\n") ==
        "line 4: unknown key \"type\" of a role");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = []\nrole = 'a'\n") ==
        "line 8: unknown key \"role\" of a subject");
  CHECK(Refusal("\"\\u0000\\n\\u00fc\" = 1") ==
        "line 1: unknown key \"????\" where only [[role]] and [[subject]] are known");
}

TEST_CASE("tables of the wrong kind are refused") {
  CHECK(Refusal("[role]\nname = 'a'\n") == "line 1: role is one value: write [[role]]");
  CHECK(Refusal("subject = 1979-05-27\n") == "line 1: subject is one value: write [[subject]]");
  CHECK(Refusal("role = [\n1]\n") == "line 2: role holds what is not a table");
}

TEST_CASE("names of roles are refused that cannot be shown") {
  const std::string allow = "\nallow = ['read']\n";
  CHECK(RoleRefusal("allow = ['read']\n") == "line 1: a role without name");
  CHECK(RoleRefusal("name = ''" + allow) == "line 2: name is empty");
  CHECK(RoleRefusal("name = 1" + allow) == "line 2: name is not a text");
  CHECK(RoleRefusal("name = 07:32:00" + allow) == "line 2: name is not a text");
  CHECK(RoleRefusal("name.x = 'a'" + allow) == "line 2: name is not a text");
  CHECK(RoleRefusal("name = '" + std::string(257, 'a') + "'" + allow) ==
        "line 2: name is longer than 256 bytes");
  CHECK(Rules::Parse("[[role]]\nname = '" + std::string(256, 'x') + "'" + allow).ok());
  CHECK(Rules::Parse("[[role]]\nname = 'gr\xc3\xb6\xc3\x9f"
                     "e \xc2\xa0'" +
                     allow)
            .ok());
  for (const char* control : {"\\n", "\\u0000", "\\u007f", "\\u0080", "\\u009f", "\\t"}) {
    CHECK(RoleRefusal("name = \"a" + std::string(control) + "\"" + allow) ==
          "line 2: name holds control characters");
  }
  CHECK(RoleRefusal("name = 'a'" + allow + "[[role]]\nname = 'a'" + allow) ==
        "line 4: role \"a\" is there twice");
}

TEST_CASE("verbs that are none are refused") {
  const std::string name = "name = 'a'\n";
  CHECK(RoleRefusal(name) == "line 1: role \"a\" has no allow");
  CHECK(RoleRefusal(name + "allow = 'read'") == "line 3: allow is not a list");
  CHECK(RoleRefusal(name + "allow = []") == "line 3: allow is empty");
  CHECK(RoleRefusal(name + "allow = ['read',\n1]") == "line 4: allow holds what is not a text");
  CHECK(RoleRefusal(name + "allow = ['Read']") == "line 3: allow holds \"Read\", which is no verb");
  CHECK(RoleRefusal(name + "allow = ['']") == "line 3: allow holds \"\", which is no verb");
  CHECK(RoleRefusal(name + "allow = ['" + std::string(200, 'x') + "']") ==
        "line 3: allow holds \"" + std::string(60, 'x') + "...\", which is no verb");
}

TEST_CASE("types that are none are refused") {
  const std::string role = "name = 'a'\nallow = ['read']\n";
  CHECK(RoleRefusal(role + "types = 1") == "line 4: types is not a list");
  CHECK(RoleRefusal(role + "types = []") ==
        "line 4: types is empty, which would be none: leave it out for all types");
  CHECK(RoleRefusal(role + "types = [1.0]") == "line 4: types holds what is not a whole number");
  CHECK(RoleRefusal(role + "types = ['1']") == "line 4: types holds what is not a whole number");
  CHECK(RoleRefusal(role + "types = [true]") == "line 4: types holds what is not a whole number");
  CHECK(RoleRefusal(role + "types = [2147483648]") ==
        "line 4: types holds 2147483648, which has more than 32 bits");
  CHECK(RoleRefusal(role + "types = [0,\n-2147483649]") ==
        "line 5: types holds -2147483649, which has more than 32 bits");
  std::string hundred = "1";
  for (int i = 1; i < 100; ++i) hundred += ", 1";
  CHECK(Rules::Parse("[[role]]\n" + role + "types = [" + hundred + "]").ok());
  CHECK(RoleRefusal(role + "types = [" + hundred + ", 1]") == "line 4: types holds more than 100");
}

TEST_CASE("prefixes that no key has are refused") {
  const std::string role = "name = 'a'\nallow = ['read']\n";
  CHECK(RoleRefusal(role + "prefix = 1") == "line 4: prefix is not a text");
  CHECK(RoleRefusal(role + "prefix = ''") == "line 4: prefix is empty: leave it out for all keys");
  CHECK(RoleRefusal(role + "prefix = \"a\\u0000\"") == "line 4: prefix holds a NUL");
  CHECK_THAT(RoleRefusal(role + "prefix = '\xc3'"), Catch::StartsWith("line 4: "));
  CHECK(RoleRefusal(role + "prefix = '" + std::string(1025, 'a') + "'") ==
        "line 4: prefix is longer than 1024 bytes");
  CHECK(Rules::Parse("[[role]]\n" + role + "prefix = '" + std::string(1024, 'a') + "'").ok());
}

TEST_CASE("subjects have one identity, and roles that exist") {
  const std::string of = " of token-sha256, serviceaccount, cert and jwt";
  CHECK(SubjectRefusal("roles = []\n") == "line 5: a subject has none" + of);
  CHECK(SubjectRefusal("roles = []\ncert = 'CN=x'\njwt = { sub = 'x' }\n") ==
        "line 5: a subject has more than one" + of);
  CHECK(SubjectRefusal("cert = 'CN=x'\n") == "line 5: a subject without roles");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = 'reader'\n") == "line 7: roles is not a list");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = [1]\n") == "line 7: roles holds what is not a text");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = ['reader', 'Reader']\n") ==
        "line 7: role \"Reader\" does not exist");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = ['']\n") == "line 7: role \"\" does not exist");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = []\nname = ''\n") == "line 8: name is empty");
  CHECK(SubjectRefusal("cert = 'CN=x'\nroles = []\nname = \"a\\n\"\n") ==
        "line 8: name holds control characters");
}

TEST_CASE("hashes that are none are refused, and never told") {
  const std::string hash = HashOf("t");
  const std::string wrong = "line 7: token-sha256 is not 64 hex digits";
  for (const std::string& text : {hash.substr(1), hash + "0", "g" + hash.substr(1), "0x" + hash,
                                  std::string("secret"), " " + hash.substr(1)}) {
    CHECK(SubjectRefusal("roles = []\ntoken-sha256 = '" + text + "'\n") == wrong);
  }
  CHECK(SubjectRefusal("roles = []\ntoken-sha256 = ''\n") == "line 7: token-sha256 is empty");
  CHECK(SubjectRefusal("roles = []\ntoken-sha256 = 1\n") == "line 7: token-sha256 is not a text");
  CHECK(SubjectRefusal("roles = []\ntoken-sha256 = '" + HashOf("") + "'\n") ==
        "line 7: token-sha256 is the hash of an empty token");
  CHECK(SubjectRefusal("roles = []\ntoken-sha256 = '" + hash + "'\n[[subject]]\nroles = []\n" +
                       "token-sha256 = '" + absl::AsciiStrToUpper(hash) + "'\n") ==
        "line 10: token-sha256 \"" + absl::AsciiStrToUpper(hash.substr(0, 8)) +
            "...\" is there twice");

  // Where it does not belong.
  for (const std::string& text :
       {"'" + hash + "' = 1\n", "roles = ['" + hash + "']\ncert = 'CN=x'\n",
        "roles = []\ncert = 'CN=x'\n" + hash + " = 1\n" + hash + " = 1\n",
        "token-sha256 = " + hash + "\n", "token-sha256 = 0x" + hash + "\n",
        "token-sha256 = 1" + std::string(63, '2') + "\n", "[" + hash + "]\n[" + hash + "]\n"}) {
    const std::string why = SubjectRefusal(text);
    INFO(why);
    CHECK(why.find(hash.substr(0, 20)) == why.npos);
    CHECK(why.find(std::string(20, '2')) == why.npos);
  }
}

TEST_CASE("service accounts that are none are refused") {
  const std::string wrong = "line 7: serviceaccount is not \"namespace/name\"";
  for (const char* text : {"x", "/x", "x/", "/", "a/b/c", "a:b/c", "A/b", "a/b c", "a/\xc3\xbc"}) {
    CHECK(SubjectRefusal("roles = []\nserviceaccount = '" + std::string(text) + "'\n") == wrong);
  }
  CHECK(SubjectRefusal("roles = []\nserviceaccount = ''\n") == "line 7: serviceaccount is empty");
  CHECK(SubjectRefusal("roles = []\nserviceaccount = ['a/b']\n") ==
        "line 7: serviceaccount is not a text");
  CHECK(SubjectRefusal("roles = []\nserviceaccount = 'a/b'\n[[subject]]\nroles = []\n"
                       "serviceaccount = 'a/b'\n") ==
        "line 10: serviceaccount \"a/b\" is there twice");
}

TEST_CASE("names of certificates that are none are refused") {
  const std::string wrong = "line 7: cert is neither a URI, such as \"spiffe://a/b\", nor \"CN=x\"";
  for (const char* text : {"x", "CN=", "cn=x", "://x", "DNS:x", "a.test"}) {
    CHECK(SubjectRefusal("roles = []\ncert = '" + std::string(text) + "'\n") == wrong);
  }
  CHECK(SubjectRefusal("roles = []\ncert = ''\n") == "line 7: cert is empty");
  CHECK(SubjectRefusal("roles = []\ncert = \"CN=a\\u0000b\"\n") ==
        "line 7: cert holds control characters");
  CHECK(SubjectRefusal("roles = []\ncert = 'CN=" + std::string(1022, 'x') + "'\n") ==
        "line 7: cert is longer than 1024 bytes");
  CHECK(SubjectRefusal("roles = []\ncert = 'CN=x'\n[[subject]]\nroles = []\ncert = 'CN=x'\n") ==
        "line 10: cert \"CN=x\" is there twice");
}

TEST_CASE("claims that are none are refused") {
  CHECK(SubjectRefusal("roles = []\njwt = 'x'\n") == "line 7: jwt is not a table of claims");
  CHECK(SubjectRefusal("roles = []\njwt = {}\n") ==
        "line 7: jwt is empty, which would be everybody");
  CHECK(SubjectRefusal("roles = []\njwt = { sub = '' }\n") == "line 7: sub is empty");
  CHECK(SubjectRefusal("roles = []\njwt = { exp = 1 }\n") == "line 7: exp is not a text");
  CHECK(SubjectRefusal("roles = []\njwt = { a.b = 'x' }\n") == "line 7: a is not a text");
  CHECK(SubjectRefusal("roles = []\njwt = { groups = ['a'] }\n") == "line 7: groups is not a text");
  CHECK(SubjectRefusal("roles = []\njwt = { '' = 'x' }\n") ==
        "line 7: the name of a claim is empty");
  CHECK(SubjectRefusal("roles = []\njwt = { \"a\\n\" = 'x' }\n") ==
        "line 7: the name of a claim holds control characters");
}

}  // namespace
}  // namespace podmirror::trust
