#include <absl/strings/ascii.h>
#include <absl/strings/escaping.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "trust/rules.h"
#include "trust/toml_values.h"

namespace podmirror::trust {
namespace {

constexpr std::size_t kMaxTables = 10'000;  // of roles, and of subjects
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxTextBytes = 1024;
constexpr std::size_t kMaxTypes = 100;  // each subject has a copy
constexpr std::size_t kHexInName = 8;
constexpr std::string_view kServiceAccount = "system:serviceaccount:";

bool IsHex(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }

Status TakePrefix(const toml::node& node, std::string& prefix) {
  const auto* given = node.as_string();
  if (given == nullptr) return Wrong(node.source(), "prefix is not a text");
  prefix = given->get();
  if (prefix.empty()) return Wrong(node.source(), "prefix is empty: leave it out for all keys");
  if (prefix.size() > kMaxTextBytes) {
    return Wrong(node.source(),
                 "prefix is longer than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  if (prefix.find('\0') != prefix.npos) return Wrong(node.source(), "prefix holds a NUL");
  return {};
}

Status TakeVerbs(const toml::node& node, VerbSet& verbs) {
  const toml::array* list = node.as_array();
  if (list == nullptr) return Wrong(node.source(), "allow is not a list");
  if (list->empty()) return Wrong(node.source(), "allow is empty");
  for (const toml::node& item : *list) {
    const auto* name = item.as_string();
    if (name == nullptr) return Wrong(item.source(), "allow holds what is not a text");
    const auto verb = std::find_if(kVerbs.begin(), kVerbs.end(),
                                   [name](Verb known) { return ToString(known) == name->get(); });
    if (verb == kVerbs.end()) {
      return Wrong(item.source(), "allow holds " + Quoted(name->get()) + ", which is no verb");
    }
    verbs.Add(*verb);
  }
  return {};
}

Status TakeTypes(const toml::node& node, std::vector<std::int32_t>& types) {
  const toml::array* list = node.as_array();
  if (list == nullptr) return Wrong(node.source(), "types is not a list");
  if (list->empty()) {
    return Wrong(node.source(), "types is empty, which would be none: leave it out for all types");
  }
  if (list->size() > kMaxTypes) {
    return Wrong(node.source(), "types holds more than " + std::to_string(kMaxTypes));
  }
  for (const toml::node& item : *list) {
    const auto* number = item.as_integer();
    if (number == nullptr) return Wrong(item.source(), "types holds what is not a whole number");
    const std::int64_t type = number->get();
    if (type < std::numeric_limits<std::int32_t>::min() ||
        type > std::numeric_limits<std::int32_t>::max()) {
      return Wrong(item.source(),
                   "types holds " + std::to_string(type) + ", which has more than 32 bits");
    }
    types.push_back(static_cast<std::int32_t>(type));
  }
  return {};
}

// "ci-1.test": what Kubernetes allows in the names of namespaces and accounts.
bool IsKubeName(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '-' || c == '.';
  });
}

}  // namespace

class RulesParser {
 public:
  Status Parse(std::string_view text) {
    const Result<toml::table> parsed = ParseToml(text);
    if (!parsed.ok()) return parsed.status();
    const toml::table& file = *parsed;
    for (const auto& [key, node] : file) {
      if (key != "role" && key != "subject") {
        return UnknownKey(key, "where only [[role]] and [[subject]] are known");
      }
    }
    Status status =
        EachTable(file, "role", [this](const toml::table& table) { return ParseRole(table); });
    if (!status.ok()) return status;
    return EachTable(file, "subject",
                     [this](const toml::table& table) { return ParseSubject(table); });
  }

  Rules Take() { return std::move(rules_); }

 private:
  template <typename Function>
  static Status EachTable(const toml::table& file, const std::string& kind, Function parse) {
    const toml::node* node = file.get(kind);
    if (node == nullptr) return {};
    const toml::array* list = node->as_array();
    if (list == nullptr) {
      return Wrong(node->source(), kind + " is one value: write [[" + kind + "]]");
    }
    if (list->size() > kMaxTables) {
      return Wrong((*list)[kMaxTables].source(),
                   "more than " + std::to_string(kMaxTables) + " of [[" + kind + "]]");
    }
    for (const toml::node& item : *list) {
      const toml::table* table = item.as_table();
      if (table == nullptr) return Wrong(item.source(), kind + " holds what is not a table");
      if (Status status = parse(*table); !status.ok()) return status;
    }
    return {};
  }

  Status ParseRole(const toml::table& table) {
    Rules::Role role;
    for (const auto& [key, node] : table) {
      Status status;
      if (key == "name") {
        status = TakeText(key, node, kMaxNameBytes, role.name);
      } else if (key == "allow") {
        status = TakeVerbs(node, role.grant.verbs);
      } else if (key == "types") {
        status = TakeTypes(node, role.grant.types);
      } else if (key == "prefix") {
        status = TakePrefix(node, role.grant.prefix);
      } else {
        status = UnknownKey(key, "of a role");
      }
      if (!status.ok()) return status;
    }
    if (role.name.empty()) return Wrong(table.source(), "a role without name");
    if (role.grant.verbs.empty()) {
      return Wrong(table.source(), "role " + Quoted(role.name) + " has no allow");
    }
    if (!roles_.emplace(role.name, rules_.roles_.size()).second) {
      return Wrong(table.source(), "role " + Quoted(role.name) + " is there twice");
    }
    rules_.roles_.push_back(std::move(role));
    return {};
  }

  Status ParseSubject(const toml::table& table) {
    Rules::Entry entry;
    std::vector<const toml::key*> ways;
    for (const auto& [key, node] : table) {
      Status status;
      if (key == "name") {
        status = TakeText(key, node, kMaxNameBytes, entry.name);
      } else if (key == "roles") {
        status = TakeRoles(node, entry.roles);
      } else if (key == "token-sha256" || key == "serviceaccount" || key == "cert" ||
                 key == "jwt") {
        ways.push_back(&key);
      } else {
        status = UnknownKey(key, "of a subject");
      }
      if (!status.ok()) return status;
    }
    if (ways.size() != 1) {
      return Wrong(table.source(), std::string("a subject has ") +
                                       (ways.empty() ? "none" : "more than one") +
                                       " of token-sha256, serviceaccount, cert and jwt");
    }
    if (!table.contains("roles")) return Wrong(table.source(), "a subject without roles");
    rules_.entries_.push_back(std::move(entry));
    return TakeIdentity(*ways[0], *table.get(ways[0]->str()));
  }

  Status TakeRoles(const toml::node& node, std::set<std::size_t>& roles) const {
    const toml::array* list = node.as_array();
    if (list == nullptr) return Wrong(node.source(), "roles is not a list");
    for (const toml::node& item : *list) {
      const auto* name = item.as_string();
      if (name == nullptr) return Wrong(item.source(), "roles holds what is not a text");
      const auto role = roles_.find(name->get());
      if (role == roles_.end()) {
        return Wrong(item.source(), "role " + Quoted(name->get()) + " does not exist");
      }
      roles.insert(role->second);
    }
    return {};
  }

  // "CN=" and a name, or a URI.
  static bool IsCertName(std::string_view text) {
    const std::string_view start = Rules::kCommonName;
    if (text.starts_with(start)) return text.size() > start.size();
    const std::size_t scheme = text.find("://");
    return scheme != 0 && scheme != text.npos;
  }

  // Of the last entry.
  Status TakeIdentity(const toml::key& key, const toml::node& node) {
    if (key == "jwt") return TakeClaims(node);
    std::string text;
    if (Status status = TakeText(key, node, kMaxTextBytes, text); !status.ok()) return status;
    if (key == "token-sha256") return TakeToken(node, text);
    const std::size_t entry = rules_.entries_.size() - 1;
    if (key == "cert") {
      if (!IsCertName(text)) {
        return Wrong(node.source(),
                     "cert is neither a URI, such as \"spiffe://a/b\", nor \"CN=x\"");
      }
      if (rules_.by_cert_.emplace(text, entry).second) return {};
      return Wrong(node.source(), "cert " + Quoted(text) + " is there twice");
    }
    const std::size_t slash = std::min(text.find('/'), text.size() - 1);
    const std::string space = text.substr(0, slash);
    const std::string account = text.substr(slash + 1);
    if (!IsKubeName(space) || !IsKubeName(account)) {
      return Wrong(node.source(), "serviceaccount is not \"namespace/name\"");
    }
    const std::string subject = std::string(kServiceAccount) + space + ":" + account;
    AddClaimant({{"sub", subject}});
    if (accounts_.insert(text).second) return {};
    return Wrong(node.source(), "serviceaccount " + Quoted(text) + " is there twice");
  }

  Status TakeToken(const toml::node& node, const std::string& hex) {
    Rules::Digest digest;
    if (hex.size() != 2 * digest.size() || !std::all_of(hex.begin(), hex.end(), IsHex)) {
      return Wrong(node.source(), "token-sha256 is not 64 hex digits");
    }
    const std::string bytes = absl::HexStringToBytes(hex);
    std::copy(bytes.begin(), bytes.end(), digest.begin());
    // It comes of a variable that is not set, and would let in whoever sends an empty token.
    if (digest == Rules::DigestOf("")) {
      return Wrong(node.source(), "token-sha256 is the hash of an empty token");
    }
    const std::string name = "token:" + absl::AsciiStrToLower(hex.substr(0, kHexInName));
    const std::size_t entry = rules_.entries_.size() - 1;
    if (rules_.by_token_.emplace(digest, rules_.Union({entry}, name)).second) return {};
    return Wrong(node.source(), "token-sha256 " + Quoted(hex) + " is there twice");
  }

  Status TakeClaims(const toml::node& node) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node.source(), "jwt is not a table of claims");
    if (table->empty()) return Wrong(node.source(), "jwt is empty, which would be everybody");
    std::map<std::string, std::string> claims;
    for (const auto& [key, value] : *table) {
      const std::string claim(key.str());
      Status status = CheckText(key.source(), "the name of a claim", claim, kMaxNameBytes);
      if (status.ok()) status = TakeText(key, value, kMaxTextBytes, claims[claim]);
      if (!status.ok()) return status;
    }
    AddClaimant(std::move(claims));
    return {};
  }

  void AddClaimant(std::map<std::string, std::string> claims) {
    // Whole crowds may have other claims in common, such as the issuer.
    const auto sub = claims.find("sub");
    const std::pair<std::string, std::string> first = sub != claims.end() ? *sub : *claims.begin();
    rules_.by_claim_.emplace(first, Rules::Claimant{std::move(claims), rules_.entries_.size() - 1});
  }

  Rules rules_;
  std::map<std::string, std::size_t> roles_;  // their numbers by name
  std::set<std::string> accounts_;
};

Result<std::shared_ptr<const Rules>> Rules::Parse(std::string_view toml) {
  RulesParser parser;
  if (Status status = parser.Parse(toml); !status.ok()) return status;
  return std::make_shared<const Rules>(parser.Take());
}

}  // namespace podmirror::trust
