#include "rest/polls.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace podmirror::rest {

bool Polls::Add(Poll poll) {
  if (!feeds_.TakeWatcher()) return false;
  absl::MutexLock lock(&mu_);
  if (ended_) {
    due_.push_back(std::move(poll));
  } else {
    at_ = waiting_.empty() ? poll.as_of : std::min(at_, poll.as_of);
    const std::uint64_t key_hash = KeyHash(poll.read.type, poll.read.key);
    waiting_.emplace(key_hash, std::move(poll));
  }
  any_.store(true);
  return true;
}

bool Polls::Look() {
  if (!any_.load()) return false;
  std::vector<Poll> some;
  bool more = false;
  {
    absl::MutexLock lock(&mu_);
    TakeChanged();
    const std::size_t count = std::min(due_.size(), kAnswers);
    const auto from = due_.end() - static_cast<std::ptrdiff_t>(count);
    some.assign(std::move_iterator(from), std::move_iterator(due_.end()));
    due_.erase(from, due_.end());
    more = !due_.empty();
    any_.store(more || !waiting_.empty());
  }
  Answer(some);
  return more;
}

// Under the lock, so that a change behind this look is one behind at_.
void Polls::TakeOther(Waiting::iterator it, Waiting::iterator end) {
  const WallMs now = env_.now().wall;
  while (it != end) {
    if (it->second.read.Known(feeds_.cache(), now)) {
      ++it;
      continue;
    }
    due_.push_back(std::move(it->second));
    it = waiting_.erase(it);
  }
}

void Polls::TakeChanged() {
  const std::uint64_t last = feeds_.changes().last();
  while (at_ < last && !waiting_.empty()) {
    std::vector<Change> changes;
    if (!feeds_.changes().Read(at_, watch::kPartBytes, changes)) {
      at_ = last;
      TakeOther(waiting_.begin(), waiting_.end());
      break;
    }
    at_ += changes.size();
    for (const Change& change : changes) {
      const auto [begin, end] = waiting_.equal_range(change.entry->key_hash());
      TakeOther(begin, end);
    }
  }
}

void Polls::Tick() {
  const SteadyMs now = env_.now().steady;
  std::vector<Poll> over;
  {
    absl::MutexLock lock(&mu_);
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (!ended_ && it->second.until > now && !it->second.left()) {
        ++it;
        continue;
      }
      over.push_back(std::move(it->second));
      it = waiting_.erase(it);
    }
    if (ended_) std::move(due_.begin(), due_.end(), std::back_inserter(over));
    if (ended_) due_.clear();
    any_.store(!due_.empty() || !waiting_.empty());
  }
  Answer(over);
}

void Polls::End() {
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  Tick();
}

void Polls::Answer(const std::vector<Poll>& polls) {
  for (const Poll& poll : polls) {
    feeds_.GiveWatcher();
    poll.answer(poll.read.Answer(feeds_.cache(), env_.now().wall));
  }
}

}  // namespace podmirror::rest
