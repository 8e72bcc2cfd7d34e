// Backlog is the ring of our own recent writes, numbered 1, 2, 3 ... without gaps; every link is a
// cursor in it, so a slow peer costs no memory of its own.
// Thread safety: none; belongs to the Node.
// Invariants: (1) it holds the writes first()..last().
//             (2) bytes() <= limit, unless it holds a single write.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "cache/entry.h"
#include "sync/message.h"

namespace podmirror::sync {

class Backlog {
 public:
  explicit Backlog(std::uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Appends the next write and returns its number. The oldest writes fall out over the limit, into
  // `dropped`. base: of a write on a condition.
  std::uint64_t Append(EntryRef entry, std::vector<EntryRef>& dropped,
                       const std::optional<Base>& base = std::nullopt);

  std::uint64_t first() const { return last_ - entries_.size() + 1; }  // last() + 1 when empty
  std::uint64_t last() const { return last_; }
  std::uint64_t bytes() const { return bytes_; }

  // Requires: first() <= seq <= last().
  const EntryRef& at(std::uint64_t seq) const { return entries_[seq - first()]; }

  // Of a write on a condition; nothing for any other.
  std::optional<Base> BaseOf(std::uint64_t seq) const;

  // Memory of the writes that are kept and numbered above seq.
  std::uint64_t BytesAfter(std::uint64_t seq) const;

 private:
  // A sum for each write would take as much memory as its place in the ring.
  static constexpr std::uint64_t kMarkEvery = 64;

  std::uint64_t BytesOf(std::uint64_t seq) const;

  std::uint64_t limit_bytes_;
  std::deque<EntryRef> entries_;
  // Bytes ever appended before each write that is kept and whose number is a multiple of
  // kMarkEvery.
  std::deque<std::uint64_t> marks_;
  std::deque<std::pair<std::uint64_t, Base>> bases_;  // by their numbers
  std::uint64_t last_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t appended_ = 0;
};

}  // namespace podmirror::sync
