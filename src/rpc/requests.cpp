#include "rpc/requests.h"

#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "cache/entry.h"

namespace podmirror::rpc {
namespace {

// Checks items one by one and remembers the first that is wrong.
class Checker {
 public:
  Checker(const RequestOptions& options, std::size_t count) : options_(options) {
    items_.reserve(count);
  }

  // where: what the item is called in the request ("items[3]").
  bool Add(const sync::WriteItem& item, const std::string& where) {
    if (item.key.size() > options_.max_key_bytes) {
      return Fail(where, "key of " + std::to_string(item.key.size()) + " bytes, at most " +
                             std::to_string(options_.max_key_bytes));
    }
    if (!IsValidKey(item.key)) return Fail(where, "key must be UTF-8, not empty, without NUL");
    if (item.value.size() > options_.max_value_bytes) {
      return Fail(where, "value of " + std::to_string(item.value.size()) + " bytes, at most " +
                             std::to_string(options_.max_value_bytes));
    }
    if (item.ttl_ms < 0 || item.ttl_ms > kMaxTtlMs) {
      return Fail(where, "ttl_ms out of range: " + std::to_string(item.ttl_ms));
    }
    items_.push_back(item);
    return true;
  }

  bool AddOnce(const sync::WriteItem& item, const std::string& where) {
    if (!seen_.emplace(item.type, item.key).second) return Fail(where, "the same key twice");
    return Add(item, where);
  }

  Result<std::vector<sync::WriteItem>> Take() {
    if (!status_.ok()) return std::move(status_);
    return std::move(items_);
  }

 private:
  bool Fail(const std::string& where, const std::string& what) {
    status_ = {Code::kInvalid, where + ": " + what};
    return false;
  }

  const RequestOptions& options_;
  std::vector<sync::WriteItem> items_;
  absl::flat_hash_set<std::pair<std::int32_t, std::string_view>> seen_;
  Status status_;
};

std::string At(std::string_view field, int index) {
  return std::string(field) + "[" + std::to_string(index) + "]";
}

v1::AckLevel ToWire(sync::AckLevel level) {
  switch (level) {
    case sync::AckLevel::kLocal:
      return v1::ACK_LEVEL_LOCAL;
    case sync::AckLevel::kOne:
      return v1::ACK_LEVEL_ONE;
    case sync::AckLevel::kMajority:
      return v1::ACK_LEVEL_MAJORITY;
    case sync::AckLevel::kAll:
      return v1::ACK_LEVEL_ALL;
  }
  return v1::ACK_LEVEL_DEFAULT;
}

}  // namespace

Status CheckSize(std::size_t bytes, std::size_t items, const RequestOptions& options) {
  if (bytes > options.max_batch_bytes) {
    return {Code::kInvalid, "request of " + std::to_string(bytes) + " bytes, at most " +
                                std::to_string(options.max_batch_bytes)};
  }
  if (items > kMaxItems) {
    return {Code::kInvalid,
            "request of " + std::to_string(items) + " items, at most " + std::to_string(kMaxItems)};
  }
  return {};
}

Result<std::vector<sync::WriteItem>> ItemsOf(const v1::SetRequest& request,
                                             const RequestOptions& options) {
  const auto count = static_cast<std::size_t>(request.items_size());
  if (Status status = CheckSize(request.ByteSizeLong(), count, options); !status.ok()) {
    return status;
  }
  Checker checker(options, count);
  for (int i = 0; i < request.items_size(); ++i) {
    const v1::SetItem& item = request.items(i);
    const sync::WriteItem write{item.type(), item.key(), item.value(), false, item.ttl_ms()};
    if (!checker.AddOnce(write, At("items", i))) break;
  }
  return checker.Take();
}

Result<std::vector<sync::WriteItem>> ItemsOf(const v1::DeleteRequest& request,
                                             const RequestOptions& options) {
  const auto count = static_cast<std::size_t>(request.items_size());
  if (Status status = CheckSize(request.ByteSizeLong(), count, options); !status.ok()) {
    return status;
  }
  Checker checker(options, count);
  for (int i = 0; i < request.items_size(); ++i) {
    const sync::WriteItem write{request.items(i).type(), request.items(i).key(), {}, true, 0};
    if (!checker.AddOnce(write, At("items", i))) break;
  }
  return checker.Take();
}

Result<std::vector<sync::WriteItem>> ItemsOf(const hellorpc::SyncRequest& request,
                                             const RequestOptions& options) {
  std::size_t count = 0;
  for (const hellorpc::SyncData& data : request.data()) count += data.data().size();
  if (Status status = CheckSize(request.ByteSizeLong(), count, options); !status.ok()) {
    return status;
  }
  Checker checker(options, count);
  for (int i = 0; i < request.data_size(); ++i) {
    const std::string where = At("data", i);
    for (const auto& [key, value] : request.data(i).data()) {
      if (!checker.Add({request.data(i).type(), key, value, false, 0}, where)) {
        return checker.Take();
      }
    }
  }
  return checker.Take();
}

Result<sync::WriteOptions> WriteOptionsOf(const v1::WriteOptions& wanted,
                                          const sync::WriteOptions& otherwise) {
  sync::WriteOptions options = otherwise;
  switch (wanted.ack()) {
    case v1::ACK_LEVEL_DEFAULT:
      break;
    case v1::ACK_LEVEL_LOCAL:
      options.ack = sync::AckLevel::kLocal;
      break;
    case v1::ACK_LEVEL_ONE:
      options.ack = sync::AckLevel::kOne;
      break;
    case v1::ACK_LEVEL_MAJORITY:
      options.ack = sync::AckLevel::kMajority;
      break;
    case v1::ACK_LEVEL_ALL:
      options.ack = sync::AckLevel::kAll;
      break;
    default:
      return Status(Code::kInvalid, "options: unknown ack " + std::to_string(wanted.ack()));
  }
  if (wanted.has_timeout_ms()) {
    if (wanted.timeout_ms() < 0 || wanted.timeout_ms() > kMaxAckTimeoutMs) {
      return Status(Code::kInvalid,
                    "options: timeout_ms out of range: " + std::to_string(wanted.timeout_ms()));
    }
    options.timeout_ms = wanted.timeout_ms();
  }
  return options;
}

void PutOutcome(const sync::WriteOutcome& outcome, v1::AckResult* result) {
  result->set_required(ToWire(outcome.required));
  result->set_met(outcome.met);
  result->set_peers(outcome.peers);
  result->set_acked(outcome.acked);
  for (const std::string& name : outcome.pending) result->add_pending(name);
}

Status RefusalStatus(sync::WriteRefusal refusal) {
  switch (refusal) {
    case sync::WriteRefusal::kNotReady:
      return {Code::kUnavailable, "not-ready"};
    case sync::WriteRefusal::kDraining:
      return {Code::kUnavailable, "draining"};
    case sync::WriteRefusal::kOutOfMemory:
      return {Code::kExhausted, "out-of-memory"};
    case sync::WriteRefusal::kNone:
      break;
  }
  return {Code::kInternal, "refused without a reason"};
}

Status CheckReadable(const sync::Driver& driver) {
  if (driver.ready() || driver.Status().state == sync::NodeState::kDraining) return {};
  return RefusalStatus(sync::WriteRefusal::kNotReady);
}

}  // namespace podmirror::rpc
