#include "rest/polls.h"

#include <algorithm>

namespace podmirror::rest {

bool Polls::Add(Poll poll) {
  if (!feeds_.TakeWatcher()) return false;
  if (!Keep(poll)) {
    Response response = poll.read();
    Answers answers;
    answers.emplace_back(std::move(poll), std::move(response));
    Give(answers);
    return true;
  }
  Look();
  return true;
}

bool Polls::Keep(const Poll& poll) {
  absl::MutexLock lock(&mu_);
  if (ended_) return false;
  at_ = waiting_.empty() ? poll.as_of : std::min(at_, poll.as_of);
  waiting_.emplace(poll.key_hash, poll);
  any_.store(true);
  return true;
}

void Polls::Look() {
  if (!any_.load()) return;
  Answers answers;
  {
    absl::MutexLock lock(&mu_);
    answers = TakeChanged();
  }
  Give(answers);
}

// Under the lock, so that a change behind this look is one behind at_.
void Polls::TakeAnswered(Waiting::iterator it, Waiting::iterator end, Answers& answers) {
  while (it != end) {
    Response response = it->second.read();
    if (response.status == 304) {
      ++it;
      continue;
    }
    answers.emplace_back(std::move(it->second), std::move(response));
    it = waiting_.erase(it);
  }
}

Polls::Answers Polls::TakeChanged() {
  Answers answers;
  const std::uint64_t last = feeds_.changes().last();
  while (at_ < last && !waiting_.empty()) {
    std::vector<Change> changes;
    if (!feeds_.changes().Read(at_, watch::kPartBytes, changes)) {
      at_ = last;
      TakeAnswered(waiting_.begin(), waiting_.end(), answers);
      break;
    }
    at_ += changes.size();
    for (const Change& change : changes) {
      const auto [begin, end] = waiting_.equal_range(change.entry->key_hash());
      TakeAnswered(begin, end, answers);
    }
  }
  any_.store(!waiting_.empty());
  return answers;
}

void Polls::Tick(SteadyMs now) {
  Answers answers;
  {
    absl::MutexLock lock(&mu_);
    for (auto it = waiting_.begin(); it != waiting_.end();) {
      if (it->second.until > now && !it->second.left()) {
        ++it;
        continue;
      }
      Response response = it->second.read();
      answers.emplace_back(std::move(it->second), std::move(response));
      it = waiting_.erase(it);
    }
    any_.store(!waiting_.empty());
  }
  Give(answers);
}

void Polls::End() {
  {
    absl::MutexLock lock(&mu_);
    ended_ = true;
  }
  Tick(INT64_MAX);
}

void Polls::Give(Answers& answers) {
  for (auto& [poll, response] : answers) {
    feeds_.GiveWatcher();
    poll.answer(std::move(response));
  }
}

}  // namespace podmirror::rest
