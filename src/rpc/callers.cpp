#include "rpc/callers.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>

#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace podmirror::rpc {
namespace {

std::string One(const grpc::AuthContext& context, const char* property) {
  const std::vector<grpc::string_ref> values = context.FindPropertyValues(property);
  return values.empty() ? std::string() : std::string(values[0].data(), values[0].size());
}

absl::InlinedVector<std::string_view, 2> Authorizations(const grpc::ServerContextBase& context) {
  absl::InlinedVector<std::string_view, 2> authorizations;
  const auto [begin, end] = context.client_metadata().equal_range("authorization");
  for (auto it = begin; it != end; ++it) {
    authorizations.emplace_back(it->second.data(), it->second.size());
  }
  return authorizations;
}

}  // namespace

Caller Callers::Of(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> told = context.auth_context();
  const bool tls =
      keyring_ != nullptr && told != nullptr &&
      One(*told, GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME) == GRPC_SSL_TRANSPORT_SECURITY_TYPE;
  if (!tls) return {};
  // gRPC tells a client's own certificate apart from those that came with it.
  std::string pem = One(*told, GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (pem.empty()) return {true, nullptr};
  pem += One(*told, GRPC_X509_PEM_CERT_CHAIN_PROPERTY_NAME);
  return {true, Presented(context.peer(), std::move(pem))};
}

Result<trust::Asker> Callers::Identify(const grpc::ServerContextBase& context,
                                       const std::string& method, const trust::Access& access) {
  if (access.open()) return access.Identify({}, nullptr, {}, {});
  return access.Identify(Authorizations(context), Of(context).certificate.get(), method,
                         IpOf(context.peer()));
}

trust::Standing Callers::StandingOf(const grpc::ServerContextBase& context,
                                    const trust::Asker& asker, const trust::Access& access) {
  if (access.open()) return {access, {}, nullptr, asker};
  std::vector<std::string> authorizations;
  for (const std::string_view one : Authorizations(context)) authorizations.emplace_back(one);
  return {access, std::move(authorizations), Of(context).certificate, asker};
}

std::shared_ptr<const trust::Presented> Callers::Presented(const std::string& address,
                                                           std::string pem) {
  {
    absl::MutexLock lock(&mu_);
    const auto found = known_.find(address);
    if (found != known_.end() && found->second.pem == pem) return found->second.presented;
  }
  auto chain = trust::CertificateChain::Parse(pem);
  if (!chain.ok()) return nullptr;  // OpenSSL has written it: it can be read
  auto presented = std::make_shared<const trust::Presented>(
      std::move(*chain), trust::Credentials::Use::kClient, *keyring_->current(), env_.now().wall);
  Remember(address, {std::move(pem), presented});
  return presented;
}

void Callers::Remember(const std::string& address, Known known) {
  absl::MutexLock lock(&mu_);
  if (known_.size() >= kMaxKnown || known_bytes_ + known.pem.size() > kMaxKnownBytes) {
    for (auto it = known_.begin(); it != known_.end() && (known_.size() > kMaxKnown / 2 ||
                                                          known_bytes_ > kMaxKnownBytes / 2);) {
      known_bytes_ -= it->second.pem.size();
      known_.erase(it++);
    }
  }
  Known& kept = known_[address];
  known_bytes_ += known.pem.size() - kept.pem.size();
  kept = std::move(known);
}

void Callers::Refused(const grpc::ServerContextBase& context) {
  limit_.Refused(IpOf(context.peer()), env_.now().steady);
}

bool Callers::Admit(const std::string& ip, std::uint16_t port) {
  if (!limit_.Allows(ip, env_.now().steady)) return false;
  const bool v6 = ip.find(':') != std::string::npos;
  const std::string address =
      absl::StrCat(v6 ? "ipv6:%5B" : "ipv4:", ip, v6 ? "%5D:" : ":", int{port});  // as gRPC has it
  absl::MutexLock lock(&mu_);
  if (const auto known = known_.find(address); known != known_.end()) {
    known_bytes_ -= known->second.pem.size();
    known_.erase(known);
  }
  return true;
}

Status Callers::CheckPeer(const Caller& caller, bool plain) const {
  if (!caller.tls) {
    return plain ? Status() : Status(Code::kRefused, "peers are taken only by TLS here");
  }
  if (caller.certificate == nullptr) {
    return {Code::kRefused, "it presented no certificate, as peers must"};
  }
  return caller.certificate->CheckPeer(*keyring_->current());
}

std::string IpOf(const std::string& grpc_address) {
  std::string address = absl::StrReplaceAll(grpc_address, {{"%5B", "["}, {"%5D", "]"}});
  const std::size_t begin = address.find(':');
  const std::size_t end = address.rfind(':');
  if (begin == address.npos || end <= begin) return address;
  std::string ip = address.substr(begin + 1, end - begin - 1);
  if (ip.size() > 2 && ip.front() == '[') ip = ip.substr(1, ip.size() - 2);
  return ip;
}

}  // namespace podmirror::rpc
