#include "discovery/etcd_v3_source.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "discovery/etcd_failures.h"
#include "discovery/etcd_options.h"
#include "discovery/etcd_v3_client.h"
#include "discovery/peer_rules.h"
#include "discovery/record_source.h"

namespace podmirror::discovery {
namespace {

// A silent watch looks the same when nothing happens, when its server is gone, and when a proxy
// between the server and us has lost its own watch. So after this time we ask how many keys there
// are. (HTTP/2 pings would tell less, and a proxy may find them too many.)
constexpr std::chrono::seconds kQuiet{10};

// Changes that come together make one peer set, which is told at most this much later.
constexpr SteadyMs kCoalesceMs = 100;

// List, then watch from there; whatever ends the watch, list again.
class EtcdV3Source final : public RecordSource {
 public:
  EtcdV3Source(CheckedEtcdOptions options, RecordRules rules, telemetry::Metrics& metrics, Env& env)
      : RecordSource(std::move(rules), metrics, env),
        where_(options.where),
        failures_(options.endpoints.size()),
        client_(NewEtcdV3Client(
            std::move(options), [this] { return thread_.stopping(); }, env)) {}

  ~EtcdV3Source() override { Stop(); }

 private:
  void Wake() override { client_->Wake(); }

  void Run() override {
    while (!thread_.stopping()) {
      thread_.BeginRead();
      if (Status status = List(); !status.ok()) {
        MemberFailed(status);
        continue;
      }
      const SteadyMs start = thread_.now();
      const Status watch = Watch();
      if (thread_.now() - start >= kShortWatchMs) backoff_.Reset();
      if (watch.ok()) continue;  // it is time to list again
      WatchFailed(watch);
      client_->NextEndpoint();
      thread_.SleepUntil(thread_.now() + backoff_.Next().count());
    }
    client_->CloseWatch();
  }

  Status List() {
    constexpr int kAttempts = 3;  // a compaction may fall between two pages
    Result<std::int64_t> revision = std::int64_t{0};
    std::vector<ReadRecord> records;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      records.clear();
      revision = client_->List(where_ + "/", [&](const EtcdKeyValue& kv) {
        if (records.size() > kMaxRecords) return Status(Code::kExhausted, "too many pod records");
        records.push_back(store_->Read(kv.key, kv.mod_revision, kv.value));
        return Status();
      });
      if (revision.status().code() != Code::kNotFound) break;
    }
    if (!revision.ok()) return revision.status();
    if (Status status = store_->Replace(std::move(records)); !status.ok()) return status;
    revision_ = *revision;
    failures_.Clear();
    CountList();
    Emit(where_, revision_);
    return Status();
  }

  // OK when it is time to list again, or to stop.
  Status Watch() {
    if (Status status = client_->OpenWatch(where_ + "/", revision_ + 1); !status.ok())
      return status;
    const SteadyMs begun = thread_.now();
    const SteadyMs planned = begun + thread_.WithJitter(kReconcileInterval).count();
    SteadyMs check_at = begun + thread_.WithJitter(kQuiet).count();
    differed_ = false;
    while (true) {
      const SteadyMs due = thread_.ReadDue(planned);
      if (thread_.stopping() || thread_.now() >= due) return Status();
      if (thread_.now() >= check_at) {
        if (Status status = CheckQuiet(begun); !status.ok()) return status;
        check_at = thread_.now() + thread_.WithJitter(kQuiet).count();
      }
      Result<std::optional<EtcdWatchAnswer>> answer =
          client_->NextWatchAnswer(std::min(due, check_at));
      const SteadyMs emit_at = thread_.now() + kCoalesceMs;
      bool partial = false;
      bool any = false;
      while (answer.ok() && answer->has_value()) {
        any = true;
        partial = (*answer)->partial;
        if (Status status = Apply(**answer); !status.ok()) return status;
        if (!partial && thread_.now() >= emit_at) break;
        // What has come already is taken at once; the rest of a revision is waited for.
        answer = client_->NextWatchAnswer(partial ? due : thread_.now());
      }
      if (!answer.ok()) return answer.status();
      if (!any) continue;
      check_at = thread_.now() + thread_.WithJitter(kQuiet).count();
      differed_ = false;
      WatchGood(begun);
      if (!partial) Emit(where_, revision_);
    }
  }

  // Nothing has come for a while: is what is known still true?
  Status CheckQuiet(SteadyMs begun) {
    const Result<std::int64_t> keys = client_->CountKeys(where_ + "/");
    if (!keys.ok()) return keys.status();
    const bool differs = *keys != static_cast<std::int64_t>(store_->size());
    // A change of just now may still be on its way to us; by the next check it has come.
    if (differs && std::exchange(differed_, true)) {
      return Status(Code::kInternal, "the watch misses changes");
    }
    if (differs) return Status();
    differed_ = false;
    WatchGood(begun);
    Emit(where_, revision_);
    return Status();
  }

  Status Apply(EtcdWatchAnswer& answer) {
    for (EtcdKeyValue& change : answer.changes) {
      reporter_->Count("watch_event");
      if (change.deleted) {
        store_->Erase(change.key, change.mod_revision);
        continue;
      }
      ReadRecord record = store_->Read(std::move(change.key), change.mod_revision, change.value);
      if (Status status = store_->Put(std::move(record)); !status.ok()) return status;
    }
    revision_ = std::max(revision_, answer.revision);
    return Status();
  }

  // The failure is told, and the thread waits, only when no member could be read.
  void MemberFailed(const Status& status) {
    if (thread_.stopping()) return;
    const std::optional<std::string> error =
        failures_.Add(client_->endpoint_name(), status.message());
    client_->NextEndpoint();
    if (!error) return;
    reporter_->Failed(*error);
    thread_.SleepUntil(thread_.now() + backoff_.Next().count());
  }

  const std::string where_;
  EtcdFailures failures_;                       // the source's thread only
  const std::unique_ptr<EtcdV3Client> client_;  // asks thread_

  // The source's thread only.
  std::int64_t revision_ = 0;
  bool differed_ = false;  // the last check of this watch counted more or fewer keys than we know
};

}  // namespace

Result<std::unique_ptr<PeerSource>> NewEtcdV3Source(EtcdOptions etcd, PodFilter filter,
                                                    telemetry::Metrics& metrics, Env& env) {
  Result<PeerRules> rules = PeerRules::New(std::move(filter));
  if (!rules.ok()) return rules.status();
  Result<CheckedEtcdOptions> options = CheckEtcdOptions(std::move(etcd), rules->ns(), env);
  if (!options.ok()) return options.status();
  return NewEtcdV3RecordSource(std::move(*options), PodRecordRules(std::move(*rules)), metrics,
                               env);
}

std::unique_ptr<PeerSource> NewEtcdV3RecordSource(CheckedEtcdOptions options, RecordRules rules,
                                                  telemetry::Metrics& metrics, Env& env) {
  return std::make_unique<EtcdV3Source>(std::move(options), std::move(rules), metrics, env);
}

}  // namespace podmirror::discovery
