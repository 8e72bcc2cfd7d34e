#include "trust/rules.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

namespace podmirror::trust {

std::optional<Rules::Digest> Rules::DigestOf(std::string_view text) {
  Digest digest;
  static_assert(digest.size() == SHA256_DIGEST_LENGTH);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  if (SHA256(bytes, text.size(), digest.data()) == nullptr) return std::nullopt;
  return digest;
}

std::shared_ptr<const Subject> Rules::ByToken(std::string_view token) const {
  const std::optional<Digest> digest = DigestOf(token);
  if (!digest) return nullptr;
  // How long the look-up takes may tell how far the digest agrees with one of the file. That is of
  // no use: nobody can choose a token by the digest that it shall have, so he does not get closer
  // step by step; and a digest, even all of it, does not tell the token.
  const auto found = by_token_.lower_bound(*digest);
  if (found == by_token_.end()) return nullptr;
  if (CRYPTO_memcmp(found->first.data(), digest->data(), digest->size()) != 0) return nullptr;
  return found->second;
}

std::shared_ptr<const Subject> Rules::ByClaims(const Claims& claims) const {
  const auto is_there = [&claims](const std::pair<const std::string, std::string>& wanted) {
    if (wanted.first == "sub") return claims.subject == wanted.second;
    const auto found = claims.texts.find(wanted.first);
    return found != claims.texts.end() && std::find(found->second.begin(), found->second.end(),
                                                    wanted.second) != found->second.end();
  };
  std::set<std::size_t> entries;
  const auto look = [&](const std::string& claim, const std::string& text) {
    const auto [begin, end] = by_claim_.equal_range({claim, text});
    for (auto it = begin; it != end; ++it) {
      const Claimant& claimant = it->second;
      if (std::all_of(claimant.claims.begin(), claimant.claims.end(), is_there)) {
        entries.insert(claimant.entry);
      }
    }
  };
  look("sub", claims.subject);
  for (const auto& [claim, texts] : claims.texts) {
    for (const std::string& text : texts) look(claim, text);
  }
  return Union(entries, claims.subject);
}

std::shared_ptr<const Subject> Rules::ByNames(const Names& names) const {
  const std::string common_name = std::string(kCommonName) + names.common_name;
  std::string name = common_name;
  if (!names.dns.empty()) name = names.dns[0];
  if (!names.uris.empty()) name = names.uris[0];

  std::set<std::size_t> entries;
  const auto look = [&](const std::string& text) {
    const auto found = by_cert_.find(text);
    if (found == by_cert_.end()) return;
    entries.insert(found->second);
    if (*entries.begin() == found->second) name = text;
  };
  look(common_name);
  for (const std::string& uri : names.uris) {
    // Nobody is taken for another because of a URI that looks like a common name.
    if (!uri.starts_with(kCommonName)) look(uri);
  }
  return Union(entries, name);
}

std::shared_ptr<const Subject> Rules::Union(const std::set<std::size_t>& entries,
                                            std::string name) const {
  auto subject = std::make_shared<Subject>();
  subject->name = std::move(name);
  std::set<std::size_t> roles;
  for (const std::size_t entry : entries) {
    roles.insert(entries_[entry].roles.begin(), entries_[entry].roles.end());
  }
  if (!entries.empty() && !entries_[*entries.begin()].name.empty()) {
    subject->name = entries_[*entries.begin()].name;
  }
  std::vector<Grant> grants;
  for (const std::size_t role : roles) {
    subject->roles.push_back(roles_[role].name);
    grants.push_back(roles_[role].grant);
  }
  subject->permissions = Permissions(std::move(grants));
  return subject;
}

}  // namespace podmirror::trust
