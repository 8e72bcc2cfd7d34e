#include "settings/check.h"

#include <string>
#include <utility>

#include "settings/parse.h"

namespace podmirror::settings {
namespace {

Status CheckEtcdCredentials(const Settings& s) {
  if (s.etcd_cert.empty() != s.etcd_key.empty()) {
    return Invalid(s.etcd_cert.empty() ? "etcd-cert" : "etcd-key",
                   "missing: etcd-cert and etcd-key go together");
  }
  if (s.etcd_user.empty() != s.etcd_password_file.empty()) {
    return Invalid(s.etcd_user.empty() ? "etcd-user" : "etcd-password-file",
                   "missing: etcd-user and etcd-password-file go together");
  }
  return {};
}

Status CheckRegistry(const Settings& s) {
  if (s.service.empty()) return Invalid("service", "required with discovery registry");
  if (!s.selector.empty()) return Invalid("selector", "no use with discovery registry");
  if (s.registry_schema == "registry" || "/" + s.registry_schema == s.etcd_prefix) {
    return Invalid("registry-schema",
                   Quoted(s.registry_schema) + " is where Kubernetes keeps its own records");
  }
  if (s.pod.ip.empty()) {
    return Invalid("pod-ip",
                   "required with discovery registry: where the others reach this daemon");
  }
  if (s.peer_port == 0) return Invalid("peer-port", "required, since grpc-listen has port 0");
  return CheckEtcdCredentials(s);
}

// Blanks alone would be the selector of every pod, and a part of no pod's name.
bool IsBlank(const std::string& text) {
  return !text.empty() && text.find_first_not_of(' ') == std::string::npos;
}

Status CheckDiscovery(const Settings& s) {
  if (IsBlank(s.service)) return Invalid("service", "holds only blanks");
  if (IsBlank(s.selector)) return Invalid("selector", "holds only blanks");
  if (s.discovery == "static" && s.peers.empty()) {
    return Invalid("peers", "required with discovery static: host:port,host:port");
  }
  if (s.discovery == "registry") return CheckRegistry(s);
  if (s.discovery != "etcd" && s.discovery != "etcd-v2" && s.discovery != "kube-api") return {};
  if (s.service.empty() && s.selector.empty()) {
    return Invalid("service", "required with discovery " + s.discovery +
                                  ": a part of the pods' names (or give selector instead)");
  }
  if (!s.service.empty() && !s.selector.empty()) {
    return Invalid("selector", "given together with service: only one of them can count");
  }
  if (s.peer_port == 0) return Invalid("peer-port", "required, since grpc-listen has port 0");
  if (s.discovery != "kube-api") return CheckEtcdCredentials(s);
  if (s.kube_api_url.empty()) {
    return Invalid("kube-api-url",
                   "required with discovery kube-api where KUBERNETES_SERVICE_HOST and "
                   "KUBERNETES_SERVICE_PORT are not set: is this a pod?");
  }
  return {};
}

Status CheckAuth(const Settings& s) {
  if (s.auth_jwt_issuer.empty() != s.auth_jwks.empty()) {
    return Invalid(s.auth_jwt_issuer.empty() ? "auth-jwt-issuer" : "auth-jwks",
                   "missing: auth-jwt-issuer and auth-jwks go together");
  }
  if (s.auth_jwks.starts_with("http://")) {
    return Invalid("auth-jwks", "is neither a file nor an https URL");
  }
  if (!s.auth_required) return {};
  if (s.auth_file.empty()) return Invalid("auth-file", "required with auth required");
  if (s.peer_tls != "require") {
    return Invalid("peer-tls", "must be require with auth required: else anybody could be a peer");
  }
  return {};
}

Status CheckTrust(const Settings& s) {
  const bool peers = s.peer_tls != "off";
  for (const auto& [name, needed] : {std::pair("rest-tls-listen", s.rest_tls_listen.has_value()),
                                     std::pair("grpc-tls-listen", s.grpc_tls_listen.has_value()),
                                     std::pair("peer-tls", peers)}) {
    if (needed && !s.tls()) return Invalid("tls-cert", std::string("required with ") + name);
  }
  if (!s.tls_key.empty() && !s.tls()) return Invalid("tls-cert", "missing: tls-key is its key");
  if (peers && s.tls_ca.empty()) {
    return Invalid("tls-ca", "required with peer-tls " + s.peer_tls + ": who may sign peers");
  }
  if (s.peer_tls == "require" && !s.grpc_tls_listen) {
    return Invalid("grpc-tls-listen", "required with peer-tls require: where the others reach us");
  }
  if (peers && s.peer_tls_port == 0 && s.discovery != "static" && s.discovery != "none") {
    return Invalid("peer-tls-port", "required, since grpc-tls-listen is off or has port 0");
  }
  return {};
}

}  // namespace

Status Invalid(const std::string& setting, const std::string& wrong) {
  return {Code::kInvalid, setting + ": " + wrong};
}

Status CheckListening(const Settings& s) {
  if (!s.rest_listen && !s.rest_tls_listen) {
    return Invalid("rest-listen", "is off, and so is rest-tls-listen");
  }
  if (!s.grpc_listen && !s.grpc_tls_listen) {
    return Invalid("grpc-listen", "is off, and so is grpc-tls-listen");
  }
  const std::pair<const char*, const Settings::Listen*> all[] = {
      {"rest-listen", &s.rest_listen},
      {"grpc-listen", &s.grpc_listen},
      {"rest-tls-listen", &s.rest_tls_listen},
      {"grpc-tls-listen", &s.grpc_tls_listen},
      {"health-listen", &s.health_listen}};
  for (const auto& [name, listen] : all) {
    for (const auto& [other_name, other] : all) {
      if (other == listen) break;
      if (*listen && (*listen)->port != 0 && *listen == *other) {
        return Invalid(name, std::string("is the same address as ") + other_name);
      }
    }
  }
  return {};
}

Status Check(const Settings& s) {
  if (s.drain_delay > s.drain_timeout) {
    return Invalid("drain-delay", "is longer than drain-timeout");
  }
  if (Status status = CheckTrust(s); !status.ok()) return status;
  if (Status status = CheckAuth(s); !status.ok()) return status;
  return CheckDiscovery(s);
}

}  // namespace podmirror::settings
