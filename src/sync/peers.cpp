#include "sync/peers.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace podmirror::sync {

bool Peers::Learn(const PeerSet& set) {
  listed_ = set.self_listed;
  if (!set.self_listed) {
    error_ = "own pod not found under " + set.where + ": check that path, service, pod-name";
    return false;
  }
  set_ = set;
  error_.clear();
  return true;
}

std::vector<const PodRecord*> Peers::Wanted() const {
  std::vector<const PodRecord*> wanted;
  for (const PodRecord& record : set_->peers) wanted.push_back(&record);
  if (self_.synced) return wanted;
  for (const PodRecord& record : set_->terminating) wanted.push_back(&record);
  return wanted;
}

std::vector<std::string> Peers::Terminating() const {
  std::vector<std::string> names;
  if (!set_) return names;
  for (const PodRecord& record : set_->terminating) names.push_back(record.name);
  return names;
}

std::vector<Link*> Peers::Unwanted() {
  std::set<std::string> wanted;
  for (const PodRecord* record : Wanted()) wanted.insert(record->id());
  std::vector<Link*> unwanted;
  for (auto& [id, link] : links_) {
    if (!wanted.contains(id)) unwanted.push_back(&link);
  }
  return unwanted;
}

Link* Peers::Find(const std::string& id) {
  const auto found = links_.find(id);
  return found == links_.end() ? nullptr : &found->second;
}

Link* Peers::OfStream(ConnId conn) {
  if (!IsDialled(conn)) return nullptr;
  const auto found = by_stream_.find(conn);
  return found == by_stream_.end() ? nullptr : found->second;
}

Link* Peers::To(const Introduction& peer) {
  if (!peer.uid.empty()) {
    if (Link* link = Find(peer.uid)) return link;
  }
  for (Link* link : by_age_) {
    if (link->Is(peer.incarnation) && !link->duplicate()) return link;
  }
  return nullptr;
}

void Peers::Add(const PodRecord& record, std::uint64_t bound, SteadyMs now) {
  links_.emplace(record.id(), Link(record, bound, now));
}

void Peers::Remove(Link& link) {
  by_stream_.erase(link.conn());
  std::erase(by_age_, &link);
  std::erase(touched_, &link);
  links_.erase(links_.find(link.id()));
}

void Peers::SortByAge() {
  by_age_.clear();
  for (auto& [id, link] : links_) by_age_.push_back(&link);
  std::sort(by_age_.begin(), by_age_.end(),
            [](const Link* a, const Link* b) { return OlderThan(a->record(), b->record()); });
}

bool Peers::Elder(const Link& link) const {
  const PeerState& peer = link.peer();
  return std::make_tuple(peer.process_started_ms, std::cref(peer.uid), peer.incarnation) <
         std::make_tuple(self_.options.process_started_ms, std::cref(self_.options.self.uid),
                         self_.incarnation);
}

void Peers::Dial(Link& link, SteadyMs now) {
  const ConnId conn = NextDialled();
  link.connection().Dialled(conn, now);
  by_stream_[conn] = &link;
  self_.ready.dials.push_back({conn, link.record(), link.legacy()});
}

void Peers::Lost(Link& link, Code code, const std::string& error, SteadyMs now) {
  by_stream_.erase(link.conn());
  link.Lost(code, error, now, self_.random());
}

void Peers::Touch(Link& link) {
  if (std::find(touched_.begin(), touched_.end(), &link) == touched_.end()) {
    touched_.push_back(&link);
  }
}

Link* Peers::TakeTouched() {
  if (touched_.empty()) return nullptr;
  Link* link = touched_.front();
  touched_.pop_front();
  return link;
}

}  // namespace podmirror::sync
