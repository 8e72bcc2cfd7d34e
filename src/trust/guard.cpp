#include "trust/guard.h"

#include <openssl/sha.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "base/file.h"

namespace podmirror::trust {
namespace {

constexpr std::size_t kMaxTokenBytes = 16 * 1024;

Status Unknown(std::string why) { return {Code::kUnauthenticated, std::move(why)}; }

// The token of "Bearer <token>" (RFC 6750), the scheme in any case; empty when it is not that.
std::string_view TokenOf(std::string_view authorization) {
  constexpr std::string_view kScheme = "bearer ";
  if (!absl::StartsWithIgnoreCase({authorization.data(), authorization.size()},
                                  {kScheme.data(), kScheme.size()})) {
    return {};
  }
  authorization.remove_prefix(kScheme.size());
  const std::size_t begin = authorization.find_first_not_of(' ');
  if (begin == authorization.npos) return {};
  const std::string_view token = authorization.substr(begin);
  const bool plain =
      std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  return plain ? token : std::string_view();
}

}  // namespace

Guard::Guard(const Env& env)
    : open_(std::make_shared<const Subject>(Subject{"everybody", {}, Permissions::Everything()})),
      env_(env) {}

Guard::Guard(std::string file, TokenRules token_rules, const Keyring* keyring, TokenKeys* keys,
             const Env& env)
    : file_(std::move(file)),
      token_rules_(std::move(token_rules)),
      keyring_(keyring),
      keys_(keys),
      env_(env) {}

Result<std::unique_ptr<Guard>> Guard::New(std::string file, TokenRules token_rules,
                                          const Keyring* keyring, TokenKeys* keys, const Env& env) {
  std::unique_ptr<Guard> guard(
      new Guard(std::move(file), std::move(token_rules), keyring, keys, env));
  if (guard->Look() != Looked::kTaken) return Invalid(guard->error());
  return guard;
}

Result<SubjectRef> Guard::Identify(absl::Span<const std::string_view> authorizations,
                                   const Presented* certificate) const {
  if (open()) return open_;
  if (authorizations.size() > 1) return Unknown("there is more than one Authorization");
  if (authorizations.size() == 1) {
    const std::string_view token = TokenOf(authorizations[0]);
    if (token.empty()) return Unknown("Authorization is not Bearer and a token");
    if (token.size() > kMaxTokenBytes) return Unknown("the token is longer than 16 KiB");
    return ByToken(token);
  }
  if (certificate == nullptr || keyring_ == nullptr) {
    return Unknown("neither a token nor a client certificate was given");
  }
  if (Status status = certificate->Check(*keyring_->current()); !status.ok()) {
    return Unknown("the client certificate is refused: " + status.message());
  }
  return rules()->ByNames(certificate->names());
}

std::shared_ptr<const Rules> Guard::rules() const {
  absl::MutexLock lock(&mu_);
  return rules_;
}

Result<SubjectRef> Guard::ByToken(std::string_view token) const {
  const std::shared_ptr<const Rules> rules = this->rules();
  if (SubjectRef subject = rules->ByToken(token)) return subject;
  const bool issued = std::count(token.begin(), token.end(), '.') == 2;
  if (keys_ == nullptr || !issued) return Unknown("the token is not known");
  return ByIssued(token, *rules);
}

Result<SubjectRef> Guard::ByIssued(std::string_view token, const Rules& rules) const {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(), digest.data());
  const WallMs now = env_.now().wall;
  {
    absl::MutexLock lock(&mu_);
    const auto known = known_.find(digest);
    if (known != known_.end() && now < known->second.until) return known->second.subject;
  }
  const std::shared_ptr<const KeySet> keys = keys_->current();
  if (keys == nullptr) {
    keys_->Missed();
    return Unknown("the keys of tokens could not be read yet");
  }
  const Result<Claims> claims = VerifyToken(token, *keys, token_rules_, now);
  if (!claims.ok()) {
    if (claims.status().code() == Code::kNotFound) keys_->Missed();
    return Unknown("the token is refused: " + claims.status().message());
  }
  SubjectRef subject = rules.ByClaims(*claims);
  absl::MutexLock lock(&mu_);
  // Rules or keys that were replaced meanwhile do not know what the former said.
  if (rules_.get() != &rules || keys_->current() != keys) return subject;
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[digest] = {subject, claims->expires};
  return subject;
}

Looked Guard::Look() {
  Result<std::string> text = ReadSmallFile(file_);
  absl::MutexLock lock(&mu_);
  const std::string content = text.ok() ? *text : std::string();
  if (content == text_ && (rules_ != nullptr || !error_.empty())) {
    return error_.empty() ? Looked::kUnchanged : Looked::kStill;
  }
  text_ = content;
  Result<std::shared_ptr<const Rules>> rules =
      text.ok() ? Rules::Parse(content) : Result<std::shared_ptr<const Rules>>(text.status());
  if (!rules.ok()) {
    error_ = "auth-file: " + rules.status().message();
    return Looked::kRefused;
  }
  rules_ = std::move(*rules);
  known_.clear();
  error_.clear();
  number_.fetch_add(1, std::memory_order_release);
  return Looked::kTaken;
}

std::string Guard::error() const {
  absl::MutexLock lock(&mu_);
  return error_;
}

void Guard::ForgetTokens() {
  absl::MutexLock lock(&mu_);
  known_.clear();
  number_.fetch_add(1, std::memory_order_release);
}

}  // namespace podmirror::trust
