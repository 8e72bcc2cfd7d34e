#include "rpc/watch_service.h"

#include <grpcpp/support/slice.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "podmirror/v1/cache.pb.h"
#include "podmirror/v1/follow.pb.h"
#include "rpc/follow_service.h"
#include "rpc/requests.h"
#include "sync/transfer.h"
#include "wire/follow_codec.h"

namespace podmirror::rpc {
namespace {

// A client must read within this time, or its call ends; within the second one when the server
// ends.
constexpr SteadyMs kReadMs = 10'000;
constexpr SteadyMs kLastReadMs = 250;
constexpr SteadyMs kLookMs = 1'000;
// A follower is told so often what the daemon holds.
constexpr SteadyMs kStateMs = 900;

v1::WatchEvent::Kind KindOf(watch::EventKind kind) {
  switch (kind) {
    case watch::EventKind::kPut:
      return v1::WatchEvent::KIND_PUT;
    case watch::EventKind::kDelete:
      return v1::WatchEvent::KIND_DELETE;
    case watch::EventKind::kSynced:
      return v1::WatchEvent::KIND_SYNCED;
    case watch::EventKind::kBookmark:
      return v1::WatchEvent::KIND_BOOKMARK;
    case watch::EventKind::kReset:
      return v1::WatchEvent::KIND_RESET;
  }
  return v1::WatchEvent::KIND_UNSPECIFIED;
}

std::string Encode(std::uint64_t incarnation, std::span<const watch::Event> events, WallMs now) {
  v1::WatchResponse response;
  for (const watch::Event& event : events) {
    v1::WatchEvent* const to = response.add_events();
    to->set_kind(KindOf(event.kind));
    to->set_id(watch::Token{incarnation, event.number}.ToString());
    if (event.kind == watch::EventKind::kPut) {
      PutEntry(*event.entry, now, to->mutable_entry());
    } else if (event.kind == watch::EventKind::kDelete) {
      to->mutable_entry()->set_type(event.entry->type());
      to->mutable_entry()->set_key(std::string(event.entry->key()));
      to->mutable_entry()->set_version(event.entry->version().ToString());
      to->set_reason(event.expired ? v1::WatchEvent::REASON_EXPIRED
                                   : v1::WatchEvent::REASON_DELETED);
    }
  }
  return response.SerializeAsString();
}

// The same events as a follower reads them. (Those without an entry are parts of their own.)
std::string EncodeChanges(follow::Scope scope, std::span<const watch::Event> events) {
  follow::Changes changes;
  for (const watch::Event& event : events) {
    if (event.kind == watch::EventKind::kReset) {
      changes.missed = true;
    } else if (event.kind == watch::EventKind::kSynced) {
      changes.synced = true;
    } else if (event.entry && scope == follow::Scope::kWhole && sync::IsLarge(*event.entry)) {
      changes.large.push_back({event.entry->key_hash(), event.entry->version()});
    } else if (event.entry) {
      changes.entries.push_back(event.entry);
    }
  }
  v1::ChangesResponse response;
  wire::Encode(changes, &response);
  return response.SerializeAsString();
}

// The part as a message, without a copy of it.
grpc::ByteBuffer MessageOf(watch::PartRef part) {
  auto* const held = new watch::PartRef(std::move(part));
  const std::string& bytes = (*held)->bytes();
  const grpc::Slice slice(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void* part_ref) { delete static_cast<watch::PartRef*>(part_ref); }, held);
  return {&slice, 1};
}

}  // namespace

// All of it on the thread of the service.
class WatchService::WatchCall final : public std::enable_shared_from_this<WatchCall> {
 public:
  WatchCall(WatchService& service, std::shared_ptr<ServerCall> call,
            std::unique_ptr<watch::Watcher> watcher, trust::Standing standing, Follows follows)
      : service_(service),
        call_(std::move(call)),
        watcher_(std::move(watcher)),
        standing_(std::move(standing)),
        follows_(follows) {}

  // Writes what is to be read next, unless it is still writing.
  void Look(Now now) {
    if (over_) return;
    if (message_.Valid()) {
      const SteadyMs patience = service_.ended_.load() ? kLastReadMs : kReadMs;
      if (now.steady - writing_since_ >= patience) Drop();
      return;
    }
    if (service_.ended_.load()) {
      End({Code::kUnavailable, "draining"});
    } else if (!standing_.Holds(now.steady)) {
      End({Code::kUnauthenticated, "what this watch may see has changed"});
    } else if (const auto state = StateToTell(now)) {
      Write(net::ToBytes(*state), now.steady);
    } else if (watch::PartRef part = watcher_->Next(TimeFor(now))) {
      Write(MessageOf(std::move(part)), now.steady);
    } else if (watcher_->more() && !std::exchange(looks_again_, true)) {
      service_.thread_.Post([self = shared_from_this()] {
        self->looks_again_ = false;
        self->Look(self->service_.env_.now());
      });
    }
  }
  // The client is gone or does not read.
  void Drop() { End({Code::kUnavailable, "cancelled"}); }

 private:
  // For a follower nothing has expired that one clock alone calls expired.
  Now TimeFor(Now now) const {
    if (follows_) now.wall = std::min(now.wall, service_.driver_.expired_by());
    return now;
  }

  // Of a follower, when it is time. What the daemon held is noted, and told when the changes up to
  // then are: under writes that never pause, too. The digest can be told only when these are all.
  std::optional<v1::ChangesResponse> StateToTell(Now now) {
    if (!follows_ || now.steady < state_due_at_) return std::nullopt;
    if (due_ && watcher_->at() < due_->last && !watcher_->in_state()) return std::nullopt;
    Held held = service_.HeldNow(now);
    if (*follows_ == follow::Scope::kPart || watcher_->at() != held.last) held.state.digest.reset();
    if (watcher_->at() < held.last && !watcher_->in_state()) {
      if (!due_) {
        due_ = held;
        return std::nullopt;
      }
      held = *due_;
    }
    due_.reset();
    state_due_at_ = now.steady + kStateMs;
    v1::ChangesResponse response;
    wire::Encode({.state = held.state}, &response);
    return response;
  }

  void Write(const grpc::ByteBuffer& message, SteadyMs now) {
    message_ = message;
    writing_since_ = now;
    call_->Write(message_, [self = shared_from_this()](bool ok) {
      self->service_.thread_.Post([self, ok] { self->Written(ok); });
    });
  }

  void Written(bool ok) {
    message_.Clear();
    if (ok) {
      Look(service_.env_.now());
    } else {
      Drop();
    }
  }

  void End(const Status& status) {
    if (std::exchange(over_, true)) return;
    watcher_.reset();
    if (message_.Valid()) {
      call_->Cancel();  // its write comes back, and there is nothing more to be said
    } else {
      call_->Finish(status);
    }
    service_.calls_.erase(shared_from_this());
    service_.calls_open_.fetch_sub(1);
  }

  WatchService& service_;
  const std::shared_ptr<ServerCall> call_;
  std::unique_ptr<watch::Watcher> watcher_;
  trust::Standing standing_;
  grpc::ByteBuffer message_;  // of the write in flight
  SteadyMs writing_since_ = 0;
  const Follows follows_;
  SteadyMs state_due_at_ = 0;
  std::optional<Held> due_;   // since the changes up to then are told
  bool looks_again_ = false;  // soon, without being told
  bool over_ = false;
};

WatchService::WatchService(const sync::Driver& driver, ChangeLog& changes, watch::Feeds& feeds,
                           const Env& env, const trust::Access& access, Callers& callers)
    : driver_(driver), feeds_(feeds), env_(env), access_(access), callers_(callers) {
  changes.AddListener([this] { Wake(); });
}

WatchService::~WatchService() = default;

void WatchService::AddTo(Methods& methods) {
  methods.emplace("/podmirror.v1.Cache/Watch",
                  RequestHandler(thread_, [this](const auto& call, grpc::ByteBuffer& request) {
                    Begin(call, Open(*call, request), std::nullopt);
                  }));
  methods.emplace("/podmirror.v1.Follow/Changes",
                  RequestHandler(thread_, [this](const auto& call, grpc::ByteBuffer& request) {
                    BeginChanges(call, request);
                  }));
}

WatchService::Opened WatchService::Open(const ServerCall& call, grpc::ByteBuffer& bytes) {
  v1::WatchRequest request;
  if (Status status = FromBytes(bytes, &request); !status.ok()) return status;
  auto filter = watch::Filter::For({request.types().begin(), request.types().end()},
                                   request.prefix(), call.asker(), access_);
  if (!filter.ok()) return filter.status();
  if (Status status = CheckReadable(driver_); !status.ok()) return status;
  auto feed = feeds_.Get(
      std::move(*filter), "messages",
      [incarnation = feeds_.incarnation()](std::span<const watch::Event> events, WallMs now) {
        return Encode(incarnation, events, now);
      });
  return Open(std::move(feed), {.initial = request.initial(),
                                .resume = !request.since().empty(),
                                .since = watch::Token::Parse(request.since())});
}

void WatchService::BeginChanges(const std::shared_ptr<ServerCall>& call, grpc::ByteBuffer& bytes) {
  v1::ChangesRequest request;
  Status status = FromBytes(bytes, &request);
  const auto scope = request.types().empty() && request.prefix().empty() ? follow::Scope::kWhole
                                                                         : follow::Scope::kPart;
  if (status.ok()) status = CheckReadable(driver_);
  Begin(call, status.ok() ? OpenChanges(*call, request, scope) : status, scope);
}

WatchService::Opened WatchService::OpenChanges(const ServerCall& call,
                                               const v1::ChangesRequest& request,
                                               follow::Scope scope) {
  const bool whole = scope == follow::Scope::kWhole;
  Result<watch::Filter> filter = watch::Filter{};
  if (whole) {
    if (Status status = PermitFollower(access_, call.asker()); !status.ok()) return status;
  } else {
    filter = watch::Filter::For({request.types().begin(), request.types().end()}, request.prefix(),
                                call.asker(), access_);
    if (!filter.ok()) return filter.status();
  }
  auto feed = feeds_.Get(*std::move(filter), whole ? "changes" : "changes of a part",
                         [scope](std::span<const watch::Event> events, WallMs) {
                           return EncodeChanges(scope, events);
                         });
  return Open(std::move(feed), {.initial = !whole, .state = !whole});
}

WatchService::Opened WatchService::Open(std::shared_ptr<watch::Feed> feed,
                                        const watch::Start& start) {
  auto watcher = watch::Watcher::Open(std::move(feed), start, env_.now());
  if (!watcher) return Status(Code::kExhausted, "too many watchers");
  return watcher;
}

void WatchService::Begin(const std::shared_ptr<ServerCall>& call, Opened watcher, Follows follows) {
  if (!watcher.ok()) {
    call->Finish(watcher.status());
    return;
  }
  auto standing = callers_.StandingOf(call->context(), call->asker(), access_);
  const auto watch =
      std::make_shared<WatchCall>(*this, call, std::move(*watcher), std::move(standing), follows);
  calls_open_.fetch_add(1);
  thread_.Post([this, watch] {
    calls_.insert(watch);
    watch->Look(env_.now());
  });
  call->OnEnd([this, watch](bool) { thread_.Post([watch] { watch->Drop(); }); });
}

// The number is read last: so it counts all that the digest does. (The digest may lack a change
// that is just being merged: then it differs, and the follower looks again.)
WatchService::Held WatchService::HeldNow(Now now) const {
  const Cache& cache = feeds_.cache();
  Held held;
  held.state = {.incarnation = feeds_.incarnation(),
                .purge_floor = cache.purge_floor(),
                .expired_by = std::min(now.wall, driver_.expired_by()),
                .wall = now.wall,
                .steady = now.steady};
  if (cache.purged()) held.state.digest = cache.digest();
  held.last = feeds_.changes().last();
  return held;
}

void WatchService::Wake() {
  if (calls_open_.load() == 0 || woken_.exchange(true)) return;
  thread_.Post([this] {
    woken_.store(false);
    LookAtAll();
  });
}

void WatchService::LookAtAll() {
  const Now now = env_.now();
  const std::vector<CallRef> calls(calls_.begin(), calls_.end());  // some may end
  for (const CallRef& call : calls) call->Look(now);
}

void WatchService::Tick() {
  const SteadyMs now = env_.now().steady;
  if (now < look_at_.load()) return;
  look_at_.store(now + kLookMs);
  Wake();
}

void WatchService::End() {
  ended_.store(true);
  // A call whose write is in flight is told when that is through: else it would only be cut off.
  thread_.Post([this] { LookAtAll(); });
}

}  // namespace podmirror::rpc
