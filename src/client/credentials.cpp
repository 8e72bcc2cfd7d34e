#include "client/credentials.h"

#include <absl/strings/ascii.h>

#include <algorithm>
#include <utility>

#include "discovery/credential.h"

namespace podmirror::client {
namespace {

constexpr std::size_t kMaxTokenBytes = 16 * 1024;

Result<std::string> ReadToken(const std::string& file) {
  Result<std::string> token = discovery::ReadSecret("token_file", file);
  if (!token.ok()) return token;
  if (token->empty() || token->size() > kMaxTokenBytes) {
    return Invalid("token_file: " + file + " must hold a token of at most 16 KiB");
  }
  // gRPC ends the process over a call with anything else.
  if (!std::all_of(token->begin(), token->end(), absl::ascii_isgraph)) {
    return Invalid("token_file: " + file + " holds a character that no token has");
  }
  return token;
}

Status ReadPair(const std::string& cert_file, const std::string& key_file,
                Credentials::TlsFiles& files) {
  Result<std::string> cert = discovery::ReadCertificates("tls.cert", cert_file);
  if (!cert.ok()) return cert.status();
  Result<std::string> key = discovery::ReadPrivateKey("tls.key", key_file, *cert);
  if (!key.ok()) return key.status();
  files.cert = std::move(*cert);
  files.key = std::move(*key);
  return {};
}

}  // namespace

void Credentials::State::AddTo(grpc::ClientContext& context) const {
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
}

Credentials::Credentials(const Options& options, std::optional<DaemonNames> names, Env& env)
    : paths_{.ca = options.tls ? options.tls->ca : "",
             .cert = options.tls ? options.tls->cert : "",
             .key = options.tls ? options.tls->key : "",
             .token = options.token_file},
      tls_(options.tls.has_value()),
      names_(std::move(names)),
      env_(env) {}

Result<std::shared_ptr<Credentials>> Credentials::New(const Options& options, Env& env) {
  std::optional<DaemonNames> names;
  if (options.tls) {
    if (options.tls->cert.empty() != options.tls->key.empty()) {
      return Invalid("tls.cert, tls.key: both or none");
    }
    if (options.tls->port != 0 && !options.peers.empty()) {
      return Invalid("tls.port: not with peers, which name their ports");
    }
    Result<DaemonNames> made = DaemonNames::New(options);
    if (!made.ok()) return made.status();
    names = std::move(*made);
  } else if (!options.token_file.empty() && !options.allow_token_without_tls) {
    return Invalid("token_file: only with tls, or where allow_token_without_tls says so");
  }
  std::shared_ptr<Credentials> credentials(new Credentials(options, std::move(names), env));
  State state;
  const std::int64_t now = env.steady_ns();
  if (Status status = credentials->Read(state); !status.ok()) return status;
  absl::MutexLock lock(&credentials->mu_);
  credentials->looked_at_ns_ = now;
  credentials->state_ = std::make_shared<const State>(std::move(state));
  return credentials;
}

Status Credentials::Read(State& state) const {
  Status wrong;
  const auto note = [&wrong](Status status) {
    if (wrong.ok()) wrong = std::move(status);
  };
  if (tls_) {
    TlsFiles files = state.tls ? *state.tls : TlsFiles();
    if (Result<std::string> ca = discovery::ReadCertificates("tls.ca", paths_.ca); ca.ok()) {
      files.ca = std::move(*ca);
    } else {
      note(ca.status());
    }
    if (!paths_.cert.empty()) note(ReadPair(paths_.cert, paths_.key, files));
    if (!state.tls || files != *state.tls) {
      state.tls = std::make_shared<const TlsFiles>(std::move(files));
    }
  }
  if (!paths_.token.empty()) {
    if (Result<std::string> token = ReadToken(paths_.token); token.ok()) {
      state.token = std::move(*token);
    } else {
      note(token.status());
    }
  }
  return wrong;
}

std::shared_ptr<const Credentials::State> Credentials::Get(SteadyMs max_age) {
  const std::int64_t earliest = env_.steady_ns() - max_age * 1'000'000;
  {
    absl::MutexLock lock(&mu_);
    if (looked_at_ns_ > earliest) return state_;
  }
  // Many calls may want a look at the same time: those that waited here for one that began after
  // they came need none of their own.
  absl::MutexLock looking(&looking_);
  State state;
  {
    absl::MutexLock lock(&mu_);
    if (looked_at_ns_ > earliest) return state_;
    looked_at_ns_ = env_.steady_ns();
    state = *state_;
  }
  const Status status = Read(state);
  absl::MutexLock lock(&mu_);
  error_ = status.message();
  state_ = std::make_shared<const State>(std::move(state));
  return state_;
}

std::string Credentials::error() const {
  absl::MutexLock lock(&mu_);
  return error_;
}

}  // namespace podmirror::client
