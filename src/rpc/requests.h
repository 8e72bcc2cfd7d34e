// The rules for requests of applications, checked before anything is applied, and how the outcome
// is told over gRPC. The limits are those of the REST interface.
// Thread safety: plain values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "hellorpc/hellorpc.pb.h"
#include "podmirror/v1/cache.pb.h"
#include "sync/driver.h"
#include "sync/limits.h"
#include "sync/types.h"

namespace podmirror::rpc {

struct RequestOptions {
  sync::ItemLimits items;
  std::size_t max_batch_bytes = 16 * 1024 * 1024;
  sync::WriteOptions write;  // where a request does not say
};

// The items of a request, with views into the request. kInvalid names the first bad item. A key may
// come only once, except in a SyncRequest, where its last item counts.
Result<std::vector<sync::WriteItem>> ItemsOf(const v1::DeleteRequest& request,
                                             const RequestOptions& options);
Result<std::vector<sync::WriteItem>> ItemsOf(const v1::TouchRequest& request,
                                             const RequestOptions& options);
Result<std::vector<sync::WriteItem>> ItemsOf(const hellorpc::SyncRequest& request,
                                             const RequestOptions& options);
// kInvalid when the request is over the limits; else it names the first bad key.
Status Check(const v1::GetRequest& request, const RequestOptions& options);

// The condition of the one item of a request.
struct ItemCondition {
  std::string_view version;  // as in the request
  bool absent = false;

  bool given() const { return absent || !version.empty(); }
};

struct SetCall {
  std::vector<sync::WriteItem> items;
  ItemCondition condition;  // the last that was given
  v1::WriteOptions options;
};

// Reads the bytes of a v1::SetRequest, checked as by ItemsOf, without building the message: its
// hundreds of small strings would cost more than all the rest of the call.
Result<SetCall> ReadSet(std::string_view request, const RequestOptions& options);

// The condition of a DeleteRequest: the last that was given.
ItemCondition ConditionOf(const v1::DeleteRequest& request);
inline ItemCondition ConditionOf(const v1::TouchRequest& /*request*/) { return {}; }
// condition: of a request of so many items.
Result<sync::WriteOptions> WriteOptionsOf(const v1::WriteOptions& wanted,
                                          const sync::WriteOptions& otherwise,
                                          const ItemCondition& condition = {},
                                          std::size_t items = 1);
void PutOutcome(const sync::WriteOutcome& outcome, v1::AckResult* result);
void PutEntry(const Entry& entry, WallMs now, v1::Entry* to);
void PutEntryWithoutValue(const Entry& entry, WallMs now, v1::Entry* to);

// kInvalid when a request of that size and number of items is over the limits.
Status CheckSize(std::size_t bytes, std::size_t items, const RequestOptions& options);

// kUnavailable or kExhausted; the message is the code that REST answers with ("not-ready", ...).
// Requires: `refusal` is not kNone.
Status RefusalStatus(sync::WriteRefusal refusal);
// kPrecondition or kConflict, with the version that is there; kOk for any other outcome.
Status OutcomeStatus(const sync::WriteOutcome& outcome);
// Of the last item that was applied; empty: none was.
std::string VersionText(const sync::WriteOutcome& outcome);
// kUnavailable "not-ready" while the data are not there yet; reads go on while draining.
Status CheckReadable(const sync::Driver& driver);

}  // namespace podmirror::rpc
