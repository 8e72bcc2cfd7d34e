#include "discovery/static_peers.h"

#include <algorithm>
#include <set>
#include <utility>

namespace podmirror::discovery {

Result<StaticPeers> StaticPeers::New(const std::vector<std::string>& entries, const Identity& self,
                                     std::uint16_t self_port) {
  StaticPeers peers;
  for (const std::string& entry : entries) {
    Result<net::HostPort> parsed = net::ParseHostPort(entry);
    if (!parsed.ok()) return Status(Code::kInvalid, "peers: " + parsed.status().message());
    if (!parsed->is_ip) peers.addresses_[parsed->host];
    peers.entries_.push_back(std::move(*parsed));
  }
  if (peers.entries_.empty()) return Status(Code::kInvalid, "peers: empty");
  if (!self.ip.empty() && !net::CanonicalIp(self.ip)) {
    return Status(Code::kInvalid, "pod-ip: not an IP address");
  }
  peers.self_ip_ = net::CanonicalIp(self.ip).value_or("");
  peers.self_port_ = self_port;
  return peers;
}

std::vector<std::string> StaticPeers::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, addresses] : addresses_) names.push_back(name);
  return names;
}

void StaticPeers::Resolved(const std::string& name,
                           const Result<std::vector<std::string>>& addresses) {
  if (addresses.ok()) addresses_[name] = *addresses;
}

bool StaticPeers::AnyKnown() const {
  return std::any_of(entries_.begin(), entries_.end(), [this](const net::HostPort& entry) {
    return entry.is_ip || !addresses_.at(entry.host).empty();
  });
}

PeerSet StaticPeers::MakeSet() const {
  PeerSet set;
  set.self_listed = true;  // there are no records that could show us
  set.where = "the setting peers";
  std::set<std::pair<std::string, std::uint16_t>> taken = {{self_ip_, self_port_}};
  const auto add = [&](std::string name, const std::string& ip, std::uint16_t port) {
    if (!taken.emplace(ip, port).second) return;
    PodRecord& peer = set.peers.emplace_back();
    peer.name = std::move(name);
    peer.ip = ip;
    peer.port = port;
  };
  for (const net::HostPort& entry : entries_) {
    if (entry.is_ip) {
      add(entry.ToString(), entry.host, entry.port);
      continue;
    }
    for (const std::string& ip : addresses_.at(entry.host)) {
      const net::HostPort address = {.host = ip, .port = entry.port, .is_ip = true};
      add(entry.host + "/" + address.ToString(), ip, entry.port);
    }
  }
  std::sort(set.peers.begin(), set.peers.end(), OlderThan);
  return set;
}

}  // namespace podmirror::discovery
