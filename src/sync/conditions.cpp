#include "sync/conditions.h"

#include <algorithm>

namespace podmirror::sync {

void Conditions::Took(std::uint64_t key_hash, Version was) {
  if (!keys_.try_emplace(key_hash, Key{was, {}, {}}).second) return;
  order_.push_back(key_hash);
  if (order_.size() > kKeys) Forget();
}

void Conditions::Told(std::uint64_t key_hash, Version version) {
  const auto found = keys_.find(key_hash);
  if (found == keys_.end()) {
    floor_ = std::max(floor_, version.hlc);
  } else {
    found->second.told = std::max(found->second.told, version);
  }
}

void Conditions::Fine(std::uint64_t key_hash, Version version) {
  auto& fine = keys_[key_hash].fine;
  std::shift_right(fine.begin(), fine.end(), 1);
  fine.front() = version;
}

bool Conditions::WasFine(std::uint64_t key_hash, Version version) const {
  const auto found = keys_.find(key_hash);
  if (found == keys_.end()) return false;
  const auto& fine = found->second.fine;
  return std::find(fine.begin(), fine.end(), version) != fine.end();
}

bool Conditions::MayMiss(std::uint64_t key_hash, Version base) const {
  const auto found = keys_.find(key_hash);
  if (found == keys_.end()) return base.hlc <= floor_;
  const Key& key = found->second;
  return key.told > base || (base < key.since && base.hlc <= floor_);
}

void Conditions::Forget() {
  const auto oldest = keys_.find(order_.front());
  floor_ = std::max(floor_, oldest->second.told.hlc);
  keys_.erase(oldest);
  order_.pop_front();
}

}  // namespace podmirror::sync
