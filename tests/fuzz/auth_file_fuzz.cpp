// Whatever bytes are the file of rules: they are refused with a reason that a log can show, or they
// are rules that say the same each time and give nobody anything whom they do not name.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"
#include "fuzz/require.h"
#include "trust/rules.h"

namespace podmirror::trust {
namespace {

using fuzz::Require;
using SubjectPtr = std::shared_ptr<const Subject>;

constexpr std::size_t kMaxReasonBytes = 256;

void CheckReason(const Status& status) {
  const std::string& reason = status.message();
  Require(status.code() == Code::kInvalid, "a refusal says that the file is wrong");
  Require(!reason.empty() && reason.size() <= kMaxReasonBytes, "a reason is short");
  Require(std::all_of(reason.begin(), reason.end(), [](char c) { return c >= ' ' && c <= '~'; }),
          "a reason does not disturb a log");
  std::size_t digits = 0;
  for (const char c : reason) {
    digits =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') ? digits + 1 : 0;
    Require(digits < 64, "a reason tells no hash");
  }
}

// Whom the file names: everybody that is known to it by one of these.
std::vector<SubjectPtr> Subjects(const Rules& rules) {
  std::vector<SubjectPtr> subjects = {rules.ByToken("secret"), rules.ByToken("other")};
  for (const char* account : {"a:b", "shop:ci"}) {
    subjects.push_back(rules.ByClaims(
        {.subject = "system:serviceaccount:" + std::string(account), .expires = 0, .texts = {}}));
  }
  subjects.push_back(rules.ByClaims(
      {.subject = "me", .expires = 0, .texts = {{"groups", {"a", "b"}}, {"iss", {"a"}}}}));
  for (const char* name : {"x", "admin", "CN=x"}) subjects.push_back(rules.ByNames({name, {}, {}}));
  subjects.push_back(rules.ByNames({"x", {"spiffe://a/b", "spiffe://a"}, {"a"}}));
  return subjects;
}

void CheckSubject(const Subject& subject) {
  Require(!subject.name.empty() && IsUtf8(subject.name), "a subject has a name");
  const std::vector<Grant>& grants = subject.permissions.grants();
  Require(grants.size() == subject.roles.size(), "each role is one grant");
  for (const std::string& role : subject.roles) {
    Require(!role.empty() && role.size() <= 256 && IsUtf8(role), "a role has a name");
    Require(std::count(subject.roles.begin(), subject.roles.end(), role) == 1, "a role is one");
  }
  for (const Grant& grant : grants) {
    Require(!grant.verbs.empty(), "a grant permits something");
    Require(IsUtf8(grant.prefix) && grant.prefix.find('\0') == grant.prefix.npos,
            "a prefix is one of keys");
    Require(std::adjacent_find(grant.types.begin(), grant.types.end(), std::greater_equal<>()) ==
                grant.types.end(),
            "types rise");
  }
}

void CheckNobody(const SubjectPtr& subject) {
  Require(subject != nullptr && subject->roles.empty() && subject->permissions.grants().empty(),
          "whom the file does not name has no permissions");
}

void CheckStrangers(const Rules& rules, std::string_view file) {
  // No file can name what is longer than a file has room for.
  const std::string stranger(file.size() + 1, 's');
  Require(rules.ByToken("") == nullptr && rules.ByToken(file) == nullptr &&
              rules.ByToken(stranger) == nullptr,
          "a token that the file does not know is nobody's");
  CheckNobody(rules.ByClaims({}));
  CheckNobody(rules.ByClaims(
      {.subject = stranger, .expires = 0, .texts = {{"iss", {stranger}}, {stranger, {"a"}}}}));
  CheckNobody(rules.ByNames({}));
  CheckNobody(rules.ByNames({stranger, {stranger, "CN=x", "CN=admin"}, {"x", "spiffe://a/b"}}));
}

void CheckSame(const std::vector<SubjectPtr>& one, const std::vector<SubjectPtr>& other) {
  for (std::size_t i = 0; i < one.size(); ++i) {
    Require((one[i] == nullptr) == (other[i] == nullptr), "the same file names the same");
    if (one[i] == nullptr) continue;
    Require(one[i]->name == other[i]->name && one[i]->roles == other[i]->roles &&
                one[i]->permissions.grants() == other[i]->permissions.grants(),
            "the same file permits the same");
  }
}

}  // namespace

void CheckInput(std::string_view file) {
  const auto rules = Rules::Parse(file);
  const auto again = Rules::Parse(std::string(file));
  Require(rules.ok() == again.ok() && rules.status().message() == again.status().message(),
          "the same file is judged the same");
  if (!rules.ok()) return CheckReason(rules.status());
  const std::vector<SubjectPtr> subjects = Subjects(**rules);
  for (const SubjectPtr& subject : subjects) {
    if (subject != nullptr) CheckSubject(*subject);
  }
  CheckSame(subjects, Subjects(**again));
  CheckStrangers(**rules, file);
}

}  // namespace podmirror::trust

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::trust::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
