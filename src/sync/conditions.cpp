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

void Conditions::Fine(std::uint64_t key_hash, Version version, Version on) {
  auto& fine = keys_[key_hash].fine;
  std::shift_right(fine.begin(), fine.end(), 1);
  fine.front() = {version, on};
}

const Conditions::Step* Conditions::FindFine(std::uint64_t key_hash, Version version) const {
  const auto found = keys_.find(key_hash);
  if (found == keys_.end()) return nullptr;
  const auto& fine = found->second.fine;
  const auto step = std::find_if(fine.begin(), fine.end(),
                                 [&](const Step& each) { return each.version == version; });
  return step == fine.end() ? nullptr : &*step;
}

bool Conditions::BuiltOn(std::uint64_t key_hash, Version version, Version lesser) const {
  while (version > lesser) {
    const Step* step = FindFine(key_hash, version);
    if (step == nullptr || step->on >= version) return false;  // a peer may say anything
    version = step->on;
  }
  return version == lesser;
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
