#include "sync/run.h"

namespace podmirror::sync {

bool Run::Continue(bool met, bool fragments, const Backlog& backlog) {
  fragments_ = fragments;
  in_flight_ = 0;
  cursor_ = acked_ + 1;
  if (met && !FallenOut(backlog)) return false;
  if (!met) {  // this incarnation holds nothing that we know of
    covered_ = 0;
    acked_ = 0;
    broken_ = false;
  }
  Restart(backlog);
  return true;
}

void Run::ContinueLegacy(bool met, const Backlog& backlog) {
  fragments_ = false;
  in_flight_ = 0;
  const std::uint64_t next = met ? acked_ + 1 : backlog.last() + 1;
  cursor_ = std::max(next, backlog.first());
  large_.Clear();
  if (!met || cursor_ != next) start_ = cursor_;
  acked_ = cursor_ - 1;
  broken_ = false;
}

void Run::Restart(const Backlog& backlog) {
  held_before_ = held();
  large_.Clear();
  start_ = cursor_ = backlog.last() + 1;
  acked_ = backlog.last();
  in_flight_ = 0;
  broken_ = true;
}

void Run::StreamLost() {
  large_.StreamLost();
  in_flight_ = 0;
}

Batch Run::NextBatch(const Backlog& backlog) {
  Batch batch;
  batch.first_seq = cursor_;
  left_out_.clear();
  std::size_t bytes = 0;
  const std::uint64_t end = std::min(backlog.last() + 1, cursor_ + kBatchEntries);
  while (cursor_ < end && bytes < kChunkBytes) {
    const EntryRef& entry = backlog.at(cursor_);
    if (fragments_ && IsLarge(*entry)) {
      large_.Add(cursor_);
      left_out_.push_back(cursor_);
    } else {
      bytes += entry->packed_size();
      if (const auto base = backlog.BaseOf(cursor_)) {
        batch.bases.emplace_back(static_cast<std::uint32_t>(batch.entries.size()), *base);
      }
      batch.entries.push_back(entry);
    }
    ++cursor_;
  }
  batch.last_seq = in_flight_ = cursor_ - 1;
  return batch;
}

// Behind a large write that is on its way, much may have been acknowledged.
Run::Behind Run::behind(const Backlog& backlog) const {
  const std::uint64_t from = broken_ ? held() : std::max(acked_, covered_);
  Behind behind{backlog.last() - from, backlog.BytesAfter(from)};
  for (auto it = missing().begin(); it != missing().end() && *it <= from; ++it) {
    ++behind.entries;
    if (*it >= backlog.first()) behind.bytes += backlog.at(*it)->memory_bytes();
  }
  return behind;
}

std::uint64_t Run::NumberOf(std::uint32_t place) const {
  std::uint64_t number = acked_ + 1 + place;
  for (const std::uint64_t left_out : left_out_) {
    if (left_out <= number) ++number;
  }
  return number;
}

bool Run::OnAck(std::uint64_t seq, SteadyMs now) {
  // Only the answer to the batch in flight counts: after a restart an older one may still arrive.
  if (in_flight_ == 0 || seq != in_flight_) return false;
  acked_ = seq;
  in_flight_ = 0;
  last_ack_at_ = now;
  return true;
}

void Run::Covered(std::uint64_t seq, bool mended) {
  covered_ = std::max(covered_, seq);
  large_.Covered(covered_);
  if (mended) broken_ = false;
}

}  // namespace podmirror::sync
