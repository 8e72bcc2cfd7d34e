#include "rpc/requests.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "cache/entry.h"

namespace podmirror::rpc {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// What an item is called in the request: "items[3]".
struct Place {
  std::string_view field;
  std::size_t index;
};

Status Invalid(Place where, const std::string& what) {
  return {Code::kInvalid,
          std::string(where.field) + "[" + std::to_string(where.index) + "]: " + what};
}

// Checks items one by one and remembers the first that is wrong.
class Checker {
 public:
  Checker(const RequestOptions& options, std::size_t count) : options_(options) {
    items_.reserve(count);
  }

  bool Add(const sync::WriteItem& item, Place where) {
    std::string fault = sync::KeyFault(item.key, options_.items);
    if (fault.empty()) fault = sync::ValueFault(item.value, options_.items);
    if (!fault.empty()) return Fail(where, fault);
    if (item.ttl_ms < (item.touch ? 1 : 0) || item.ttl_ms > sync::kMaxTtlMs) {
      return Fail(where, "ttl_ms out of range: " + std::to_string(item.ttl_ms));
    }
    items_.push_back(item);
    return true;
  }

  Result<std::vector<sync::WriteItem>> Take() {
    if (!status_.ok()) return std::move(status_);
    return std::move(items_);
  }

  // As Take, but a key that comes twice is wrong, too. Keys are compared only here, when their
  // number is known.
  Result<std::vector<sync::WriteItem>> TakeDistinct(std::string_view field) {
    absl::flat_hash_set<std::pair<std::int32_t, std::string_view>> seen;
    seen.reserve(items_.size());
    for (std::size_t i = 0; status_.ok() && i < items_.size(); ++i) {
      if (!seen.emplace(items_[i].type, items_[i].key).second) {
        Fail({field, i}, "the same key twice");
      }
    }
    return Take();
  }

 private:
  bool Fail(Place where, const std::string& what) {
    status_ = Invalid(where, what);
    return false;
  }

  const RequestOptions& options_;
  std::vector<sync::WriteItem> items_;
  Status status_;
};

// write(item) is what an item of the request asks for.
template <typename Request, typename Write>
Result<std::vector<sync::WriteItem>> CheckedItems(const Request& request,
                                                  const RequestOptions& options,
                                                  const Write& write) {
  const auto count = static_cast<std::size_t>(request.items_size());
  if (Status status = CheckSize(request.ByteSizeLong(), count, options); !status.ok()) {
    return status;
  }
  Checker checker(options, count);
  for (std::size_t i = 0; i < count; ++i) {
    if (!checker.Add(write(request.items(static_cast<int>(i))), {"items", i})) break;
  }
  return checker.TakeDistinct("items");
}

// The tag that stands in front of each value: its field number and its wire type in one.
constexpr std::uint32_t TagOf(int field, WireFormatLite::WireType type) {
  return GOOGLE_PROTOBUF_WIRE_FORMAT_MAKE_TAG(field, type);
}
constexpr auto kVarint = WireFormatLite::WIRETYPE_VARINT;
constexpr auto kBytes = WireFormatLite::WIRETYPE_LENGTH_DELIMITED;

// Reads a length, and then makes a view of so many bytes. Requires: `in` reads one piece of memory.
bool ReadBytes(CodedInputStream& in, std::string_view* bytes) {
  std::uint32_t size = 0;
  const void* data = nullptr;
  int left = 0;
  if (!in.ReadVarint32(&size)) return false;
  if (size == 0) {
    *bytes = {};
    return true;
  }
  if (!in.GetDirectBufferPointer(&data, &left) || size > static_cast<std::uint32_t>(left)) {
    return false;
  }
  *bytes = {static_cast<const char*>(data), size};
  return in.Skip(static_cast<int>(size));
}

CodedInputStream StreamOf(std::string_view bytes) {
  return CodedInputStream(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                          static_cast<int>(bytes.size()));
}

// False when the bytes are not a v1::SetItem.
bool ReadSetItem(std::string_view bytes, sync::WriteItem* item, ItemCondition* condition) {
  CodedInputStream in = StreamOf(bytes);
  while (const std::uint32_t tag = in.ReadTag()) {
    std::uint64_t number = 0;
    bool good = true;
    switch (tag) {
      case TagOf(v1::SetItem::kTypeFieldNumber, kVarint):
        good = in.ReadVarint64(&number);
        item->type = static_cast<std::int32_t>(number);
        break;
      case TagOf(v1::SetItem::kKeyFieldNumber, kBytes):
        good = ReadBytes(in, &item->key);
        break;
      case TagOf(v1::SetItem::kValueFieldNumber, kBytes):
        good = ReadBytes(in, &item->value);
        break;
      case TagOf(v1::SetItem::kTtlMsFieldNumber, kVarint):
        good = in.ReadVarint64(&number);
        item->ttl_ms = static_cast<std::int64_t>(number);
        break;
      case TagOf(v1::SetItem::kIfVersionFieldNumber, kBytes):
        good = ReadBytes(in, &condition->version);
        break;
      case TagOf(v1::SetItem::kIfAbsentFieldNumber, kVarint):
        good = in.ReadVarint64(&number);
        condition->absent = number != 0;
        break;
      default:
        good = WireFormatLite::SkipField(&in, tag);
    }
    if (!good) return false;
  }
  return in.ConsumedEntireMessage();
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
  if (items > sync::kMaxItems) {
    return {Code::kInvalid, "request of " + std::to_string(items) + " items, at most " +
                                std::to_string(sync::kMaxItems)};
  }
  return {};
}

Result<SetCall> ReadSet(std::string_view request, const RequestOptions& options) {
  const Status malformed(Code::kInvalid, "not a SetRequest");
  if (Status status = CheckSize(request.size(), 0, options); !status.ok()) return status;
  SetCall call;
  Checker checker(options, 0);
  CodedInputStream in = StreamOf(request);
  std::size_t count = 0;
  while (const std::uint32_t tag = in.ReadTag()) {
    std::string_view bytes;
    if (tag == TagOf(v1::SetRequest::kItemsFieldNumber, kBytes)) {
      sync::WriteItem item;
      if (!ReadBytes(in, &bytes) || !ReadSetItem(bytes, &item, &call.condition)) return malformed;
      if (count == sync::kMaxItems) return CheckSize(0, count + 1, options);
      if (!checker.Add(item, {"items", count++})) break;
    } else if (tag == TagOf(v1::SetRequest::kOptionsFieldNumber, kBytes)) {
      v1::WriteOptions more;
      if (!ReadBytes(in, &bytes) ||
          !more.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
        return malformed;
      }
      call.options.MergeFrom(more);
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return malformed;
    }
  }
  Result<std::vector<sync::WriteItem>> items = checker.TakeDistinct("items");
  if (!items.ok()) return items.status();
  if (!in.ConsumedEntireMessage()) return malformed;
  call.items = std::move(*items);
  return call;
}

Result<std::vector<sync::WriteItem>> ItemsOf(const v1::DeleteRequest& request,
                                             const RequestOptions& options) {
  return CheckedItems(request, options, [](const v1::DeleteItem& item) {
    return sync::WriteItem{.type = item.type(), .key = item.key(), .value = {}, .remove = true};
  });
}

Result<std::vector<sync::WriteItem>> ItemsOf(const v1::TouchRequest& request,
                                             const RequestOptions& options) {
  return CheckedItems(request, options, [](const v1::TouchItem& item) {
    return sync::WriteItem{.type = item.type(),
                           .key = item.key(),
                           .value = {},
                           .ttl_ms = item.ttl_ms(),
                           .touch = true};
  });
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
    const Place where{"data", static_cast<std::size_t>(i)};
    for (const auto& [key, value] : request.data(i).data()) {
      if (!checker.Add({request.data(i).type(), key, value, false, 0}, where)) {
        return checker.Take();
      }
    }
  }
  return checker.Take();
}

Status Check(const v1::GetRequest& request, const RequestOptions& options) {
  const auto count = static_cast<std::size_t>(request.keys_size());
  if (Status status = CheckSize(request.ByteSizeLong(), count, options); !status.ok()) {
    return status;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& key = request.keys(static_cast<int>(i)).key();
    const std::string fault = sync::KeyFault(key, options.items);
    if (!fault.empty()) return Invalid({"keys", i}, fault);
  }
  return {};
}

ItemCondition ConditionOf(const v1::DeleteRequest& request) {
  ItemCondition condition;
  for (const v1::DeleteItem& item : request.items()) {
    if (!item.if_version().empty()) condition.version = item.if_version();
  }
  return condition;
}

Result<sync::WriteOptions> WriteOptionsOf(const v1::WriteOptions& wanted,
                                          const sync::WriteOptions& otherwise,
                                          const ItemCondition& condition, std::size_t items) {
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
    case v1::ACK_LEVEL_CONDITION:
      if (!condition.given()) {
        return Status(Code::kInvalid, "options: this ack is for a write on a condition");
      }
      break;
    default:
      return Status(Code::kInvalid, "options: unknown ack " + std::to_string(wanted.ack()));
  }
  if (wanted.has_timeout_ms()) {
    if (wanted.timeout_ms() < 0 || wanted.timeout_ms() > sync::kMaxAckTimeoutMs) {
      return Status(Code::kInvalid,
                    "options: timeout_ms out of range: " + std::to_string(wanted.timeout_ms()));
    }
    options.timeout_ms = wanted.timeout_ms();
  }
  if (!condition.given()) return options;
  if (items != 1) return Status(Code::kInvalid, "a condition is for a request of one item");
  if (condition.absent && !condition.version.empty()) {
    return Status(Code::kInvalid, "items[0]: both if_version and if_absent");
  }
  const auto version = ParseVersion(condition.version);
  if (!condition.absent && !version) {
    return Status(Code::kInvalid, "items[0]: if_version is no version");
  }
  if (wanted.ack() != v1::ACK_LEVEL_DEFAULT && wanted.ack() != v1::ACK_LEVEL_ALL &&
      wanted.ack() != v1::ACK_LEVEL_CONDITION) {
    return Status(Code::kInvalid, "options: with a condition ack is always all");
  }
  options.ack = sync::AckLevel::kAll;
  options.condition = Condition{version};
  return options;
}

void PutEntry(const Entry& entry, WallMs now, v1::Entry* to) {
  PutEntryWithoutValue(entry, now, to);
  to->set_value(std::string(entry.value()));
}

void PutEntryWithoutValue(const Entry& entry, WallMs now, v1::Entry* to) {
  to->set_type(entry.type());
  to->set_key(std::string(entry.key()));
  to->set_version(entry.version().ToString());
  if (entry.expires_at() != 0) {
    to->set_ttl_ms(std::max<std::int64_t>(1, entry.expires_at() - now));
  }
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
    case sync::WriteRefusal::kTooLarge:
      return {Code::kInvalid, "batch-too-large"};
    case sync::WriteRefusal::kNone:
      break;
  }
  return {Code::kInternal, "refused without a reason"};
}

Status OutcomeStatus(const sync::WriteOutcome& outcome) {
  if (outcome.failed) {
    return {Code::kPrecondition,
            "precondition-failed: " + (outcome.found ? outcome.found->ToString() : "none")};
  }
  if (outcome.winner) return {Code::kConflict, "conflict: " + outcome.winner->ToString()};
  return {};
}

std::string VersionText(const sync::WriteOutcome& outcome) {
  return outcome.version == Version{} ? std::string() : outcome.version.ToString();
}

Status CheckReadable(const sync::Driver& driver) {
  if (driver.ready() || driver.Status().state == sync::NodeState::kDraining) return {};
  return RefusalStatus(sync::WriteRefusal::kNotReady);
}

}  // namespace podmirror::rpc
