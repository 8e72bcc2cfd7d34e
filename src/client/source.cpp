#include "client/source.h"

#include <utility>

namespace podmirror::client {

Result<std::unique_ptr<discovery::PeerSource>> NewSource(const Options& options,
                                                         telemetry::Metrics& metrics, Env& env) {
  if (options.registry) {
    if (!options.peers.empty()) return Status(Code::kInvalid, "peers: not with a registry");
    const Registry& from = *options.registry;
    discovery::EtcdOptions etcd;
    etcd.endpoints = from.etcd_endpoints;
    etcd.ca_file = from.etcd_ca;
    etcd.cert_file = from.etcd_cert;
    etcd.key_file = from.etcd_key;
    etcd.user = from.etcd_user;
    etcd.password_file = from.etcd_password_file;
    return discovery::NewRegistryView(std::move(etcd), from.schema, from.service, metrics, env);
  }
  // A client is no daemon: there is no address of its own to leave out.
  return discovery::NewStaticSource(options.peers, Identity{}, 0, options.resolve_interval, metrics,
                                    env);
}

}  // namespace podmirror::client
