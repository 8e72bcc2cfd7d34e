// Audit tells who asked for what and what came of it, one record for each: never a value.
// Thread safety: all calls from any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trust/permission.h"

namespace podmirror::trust {

struct AuditRecord {
  std::string_view subject;  // empty: not known
  std::string_view method;   // "PUT", "/podmirror.v1.Cache/Set"
  std::string_view ip;
  std::optional<Verb> action = std::nullopt;
  std::optional<std::int32_t> type = std::nullopt;
  std::string_view key = {};
  std::string_view version = {};  // of a write that was applied
  // "ok", "pending", "conflict", "precondition-failed", "failed", "unauthorized", "forbidden";
  // "absent": of a touch or a delete by prefix, what it was for was not there when it was applied.
  std::string_view result;
};

class Audit {
 public:
  enum class Level : std::uint8_t { kOff, kDenied, kWrites, kAll };
  using Sink = std::function<void(const AuditRecord&)>;

  Audit(Level level, Sink sink) : level_(level), sink_(std::move(sink)) {}

  // Somebody was turned away: counted always, told if that is wanted.
  void Denied(const AuditRecord& record) const {
    (record.action ? forbidden_ : unauthorized_).fetch_add(1, std::memory_order_relaxed);
    if (denied()) sink_(record);
  }
  std::uint64_t unauthorized() const { return unauthorized_.load(std::memory_order_relaxed); }
  std::uint64_t forbidden() const { return forbidden_.load(std::memory_order_relaxed); }

  // Whether such records are wanted: what is not need not be made.
  bool denied() const { return level_ >= Level::kDenied; }
  bool writes() const { return level_ >= Level::kWrites; }
  bool all() const { return level_ >= Level::kAll; }

  // Requires: such records are wanted.
  void Tell(const AuditRecord& record) const { sink_(record); }

 private:
  const Level level_;
  const Sink sink_;
  mutable std::atomic<std::uint64_t> unauthorized_{0};  // not known who asked
  mutable std::atomic<std::uint64_t> forbidden_{0};     // known, and not allowed
};

// A write on its way: it is told once its outcome is known, a record for each entry.
// Thread safety: Add before the others use it; then immutable.
class AuditedWrite {
 public:
  // `audit` must outlive this.
  AuditedWrite(const Audit& audit, std::shared_ptr<const Subject> subject, std::string method,
               std::string ip)
      : audit_(audit),
        subject_(std::move(subject)),
        method_(std::move(method)),
        ip_(std::move(ip)) {}

  void Add(Verb action, std::int32_t type, std::string_view key) {
    entries_.push_back({action, type, std::string(key)});
  }
  // outcome: of the core's write (sync::WriteOutcome).
  template <typename Outcome>
  void TellOutcome(const Outcome& outcome) const {
    if (outcome.failed) {
      Tell("precondition-failed");
      return;
    }
    const std::size_t count = entries_.size() - outcome.absent.size();
    std::size_t applied = 0;
    auto absent = outcome.absent.begin();
    for (std::size_t at = 0; at < entries_.size(); ++at) {
      if (absent != outcome.absent.end() && *absent == at) {
        TellOf(entries_[at], "absent", {});
        ++absent;
      } else {
        TellOf(entries_[at],
               outcome.winner ? "conflict"
               : outcome.met  ? "ok"
                              : "pending",
               outcome.VersionOf(applied++, count).ToString());
      }
    }
  }
  // Where nothing was applied, or its versions are not known.
  void Tell(std::string_view result) const {
    for (const Entry& entry : entries_) TellOf(entry, result, {});
  }

 private:
  struct Entry {
    Verb action;
    std::int32_t type;
    std::string key;
  };

  void TellOf(const Entry& entry, std::string_view result, std::string_view version) const {
    audit_.Tell({.subject = subject_->name,
                 .method = method_,
                 .ip = ip_,
                 .action = entry.action,
                 .type = entry.type,
                 .key = entry.key,
                 .version = version,
                 .result = result});
  }

  const Audit& audit_;
  const std::shared_ptr<const Subject> subject_;
  const std::string method_;
  const std::string ip_;
  std::vector<Entry> entries_;
};

}  // namespace podmirror::trust
