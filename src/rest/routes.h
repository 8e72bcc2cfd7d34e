// Routes answers requests: one table of paths and methods, and for each row all checks of the
// request before anything is read or changed. What looks at the whole cache is done by a thread of
// its own, and bounded in number.
// Thread safety: all calls from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "rest/entry_read.h"
#include "rest/http_server.h"
#include "rest/polls.h"
#include "rest/rest_server.h"
#include "rest/target.h"

namespace podmirror::rest {

enum class Route : std::uint8_t {
  kNone,
  kHealthz,
  kReadyz,
  kMetrics,
  kStatus,
  kPeers,
  kTls,
  kWhoami,
  kWatch,
  kCache,      // /v1/cache
  kCacheType,  // /v1/cache/{type}
  kCacheEntry  // /v1/cache/{type}/{key}
};

struct RouteMatch {
  Route route = Route::kNone;
  std::string_view type;  // raw; kCacheType and kCacheEntry
  std::string_view key;   // raw; kCacheEntry
};
// Finds the route of a raw path.
RouteMatch MatchRoute(std::string_view path);

struct PendingWrite;

class Routes final : public Handler {
 public:
  Routes(RestOptions options, RestContext context);
  ~Routes() override { Stop(); }
  // Ends what is still looking at the cache. From then on no such request is to come. Idempotent,
  // from one thread.
  void Stop();

  std::optional<Response> Handle(const Request& request,
                                 const std::shared_ptr<Responder>& responder) override;
  void Round(absl::FunctionRef<void()> work) override;
  bool IsUrgent(std::string_view target) const override;
  void HandshakeFailed() override;
  void Refused(int status) override;
  void Connections(int change) override;
  bool Waits() const override { return polls_.waiting(); }
  bool Look() override { return polls_.Look(); }
  void Tick() override { polls_.Tick(); }
  bool Holds(const Entry& entry) const override;

  // No read waits any more.
  void EndWaits() { polls_.End(); }

 private:
  // A request on its way through the checks.
  struct Call {
    const Request& request;
    const std::shared_ptr<Responder>& responder;
    RouteMatch match;
    std::string_view query;
    std::string_view method;  // static
    std::int64_t start_ns;
    trust::Asker asker = {};  // once that is known
  };

  std::optional<Response> Dispatch(Call& call);
  std::optional<Response> Answer(const Call& call);
  // Finds out who asks. An answer: it is not known.
  std::optional<Response> Identify(Call& call) const;
  // Who asked, for as long as his answer goes on.
  trust::Standing StandingOf(const Call& call) const;
  // An answer: that is not allowed.
  std::optional<Response> Permit(const Call& call, const trust::Matter& matter) const;
  Response Healthz() const;
  Response Readyz() const;
  Response Metrics() const;
  Response NodeStatus() const;
  Response Peers() const;
  Response Types(const Call& call) const;
  Response List(const Call& call) const;
  std::optional<Response> Get(const Call& call);
  // Reads that wait until the entry is another, and watches.
  std::optional<Response> Wait(const Call& call, EntryRead read, std::uint64_t as_of,
                               std::int64_t wait_ms);
  Response Watch(const Call& call) const;
  std::optional<Response> WriteEntry(const Call& call);
  std::optional<Response> WriteBatch(const Call& call);
  std::optional<Response> DeleteBelow(const Call& call);
  // Writes items that are checked, if that is allowed; `document` makes the answer.
  template <typename Document>
  std::optional<Response> Write(const Call& call, std::span<const sync::WriteItem> items,
                                const WriteQuery& query, std::string_view route, Document document);
  // Nothing else to be checked. An answer: it was refused.
  template <typename Document>
  std::optional<Response> Write(PendingWrite pending, std::span<const sync::WriteItem> items,
                                const sync::WriteOptions& options, Document document);
  // On the thread for it: deletes what is found, and answers.
  void DeleteFound(PendingWrite pending, const trust::Asker& asker, std::int32_t type,
                   const DeleteQuery& query);

  // Why data may not be read now; nothing when it may.
  std::optional<Refusal> RefuseRead() const;
  // Type and key of an entry's path, checked.
  std::optional<Refusal> ParseEntryPath(const RouteMatch& match, std::int32_t& type,
                                        std::string& key) const;
  std::optional<Refusal> ParseWrite(const Call& call, WriteQuery& out) const;
  // Content-Range marks a part of an upload that is resumed. If the part were stored, readers would
  // take it for the whole value.
  static std::optional<Refusal> RefusePart(const Call& call);
  // The condition of a write of one entry, into the options of `out`.
  static std::optional<Refusal> ParseCondition(const Request& request, WriteQuery& out);
  Response RefuseWrite(sync::WriteRefusal refusal) const;

  const RestOptions options_;
  const RestContext context_;
  const SteadyMs started_at_;
  Polls polls_;
  std::atomic<bool> stopping_{false};
};

}  // namespace podmirror::rest
