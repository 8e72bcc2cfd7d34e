#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "discovery/bounded_json.h"
#include "discovery/etcd_failures.h"
#include "discovery/etcd_options.h"
#include "discovery/etcd_v2_session.h"
#include "discovery/peer_rules.h"
#include "discovery/record_source.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

// How long etcd may be silent during a list: a read that is lost with its leader is never answered.
constexpr std::chrono::milliseconds kListTimeout{3'000};
// A poll looks the same when nothing happens, when the server is gone and when the server has lost
// its leader. So a quiet poll is given up after this time, and a small read that needs the leader
// tells which of the three it is.
constexpr std::chrono::milliseconds kPollTimeout{15'000};
constexpr std::chrono::milliseconds kCheckTimeout{3'000};
bool IsDirectory(const json& node) {
  const auto at = node.find("dir");
  return at != node.end() && at->is_boolean() && at->get<bool>();
}

// Keys that begin with "_" are not shown in listings, so they are not taken from events either.
bool IsHidden(const std::string& key) { return key.find("/_") != key.npos; }

// All records below a node, directories within directories included.
void CollectRecords(const json& root, const PodStore& store, std::vector<ReadRecord>& records) {
  std::vector<const json*> pending = {&root};
  while (!pending.empty() && records.size() <= kMaxRecords) {
    const json& node = *pending.back();
    pending.pop_back();
    if (const auto nodes = node.find("nodes"); nodes != node.end() && nodes->is_array()) {
      for (const json& child : *nodes) {
        if (child.is_object()) pending.push_back(&child);
      }
    }
    const auto value = node.find("value");
    const std::string key = StringMember(&node, "key");
    if (value == node.end() || !value->is_string() || IsHidden(key)) continue;
    records.push_back(
        store.Read(key, IntMember(&node, "modifiedIndex"), value->get_ref<const std::string&>()));
  }
}

// Gets all records recursively, then polls for one change after the other. Whatever goes wrong, it
// gets all records again.
class EtcdV2Source final : public RecordSource {
 public:
  EtcdV2Source(CheckedEtcdOptions options, PeerRules rules, telemetry::Metrics& metrics, Env& env)
      : RecordSource(PodRecordRules(std::move(rules)), metrics, env),
        where_(options.where),
        failures_(options.endpoints.size()),
        session_(std::move(options), env) {}

  ~EtcdV2Source() override { Stop(); }

 private:
  // A Refresh asks for a list: so it ends a poll, which may last long, but not a list.
  void Wake() override {
    if (!polling_ && !thread_.stopping()) return;
    session_.Cancel();
  }

  void Run() override {
    while (!thread_.stopping()) {
      thread_.BeginRead();
      if (Status status = List(); !status.ok()) {
        MemberFailed(status);
        continue;
      }
      const SteadyMs start = thread_.now();
      const Status watch = Watch();
      const bool was_short = thread_.now() - start < kShortWatchMs;
      if (!was_short) backoff_.Reset();
      if (watch.ok()) continue;
      if (watch.code() != Code::kNotFound) {
        WatchFailed(watch);
        session_.NextEndpoint();
      } else if (!was_short) {
        continue;
      }
      thread_.SleepUntil(thread_.now() + backoff_.Next().count());
    }
  }

  // A request that only Stop ends early. A Wake that was meant for a poll, and comes after the poll
  // has ended by itself, may cancel the request: then it is made again.
  Result<EtcdV2Answer> Ask(const std::string& target, std::chrono::milliseconds timeout) {
    while (true) {
      session_.Rearm();
      if (thread_.stopping()) return Status(Code::kUnavailable, "stopping");
      Result<EtcdV2Answer> answer = session_.Get(target, timeout);
      if (answer.ok() || !session_.cancelled()) return answer;
    }
  }

  Status List() {
    const Result<EtcdV2Answer> answer =
        Ask("?recursive=true&sorted=true&quorum=true", kListTimeout);
    if (!answer.ok()) return answer.status();
    std::vector<ReadRecord> records;
    if (answer->status == 200) {
      const json* node = ObjectMember(&answer->body, "node");
      if (node == nullptr || !IsDirectory(*node)) {
        return Status(Code::kInternal, where_ + " is not a directory");
      }
      CollectRecords(*node, *store_, records);
    } else if (answer->error() != kEtcdKeyNotFound) {  // which means: no pods yet
      return session_.ToStatus(*answer);
    }
    if (answer->index <= 0) return Status(Code::kInternal, "an answer without X-Etcd-Index");
    if (Status status = store_->Replace(std::move(records)); !status.ok()) return status;
    index_ = answer->index;
    checked_index_ = answer->index;
    cluster_id_ = answer->cluster_id;
    failures_.Clear();
    CountList();
    Emit(where_, index_);
    return Status();
  }

  // OK when it is time to list again, or to stop. kNotFound: the history that we need is gone, or
  // the store is another one.
  Status Watch() {
    const SteadyMs opened = thread_.now();
    const SteadyMs planned = opened + thread_.WithJitter(kReconcileInterval).count();
    while (true) {
      polling_ = true;
      session_.Rearm();
      const SteadyMs begun = thread_.now();
      const SteadyMs left = thread_.ReadDue(planned) - begun;
      if (thread_.stopping() || left <= 0) {
        polling_ = false;
        return Status();
      }
      const Result<EtcdV2Answer> answer =
          session_.Get("?wait=true&recursive=true&waitIndex=" + std::to_string(index_ + 1),
                       std::min(kPollTimeout, std::chrono::milliseconds(left)));
      polling_ = false;
      if (!answer.ok() && session_.cancelled()) continue;
      const bool quiet = answer.ok() ? answer->status == 200 && answer->body.is_null()
                                     : answer.status().code() == Code::kDeadline;
      if (!answer.ok() && !quiet) return answer.status();
      // A list is due: it tells more than a check would.
      if (quiet && thread_.now() >= thread_.ReadDue(planned)) return Status();
      if (Status status = quiet ? CheckQuiet() : TakeEvent(*answer); !status.ok()) return status;
      WatchGood(opened);
      Emit(where_, index_);
      // A server that ends polls at once must not be polled without a pause.
      if (quiet) thread_.SleepUntil(begun + kShortWatchMs);
    }
  }

  // A poll has ended and nothing came: is what is known still true?
  Status CheckQuiet() {
    // checked_index_ is older than the poll, so the poll would have told all changes up to it.
    index_ = std::max(index_, checked_index_);
    const Result<EtcdV2Answer> answer = Ask("/_podmirror?quorum=true", kCheckTimeout);
    if (!answer.ok()) return answer.status();
    if (answer->status != 200 && answer->error() != kEtcdKeyNotFound) {
      return session_.ToStatus(*answer);
    }
    if (answer->index < index_ || answer->cluster_id != cluster_id_) {
      return Status(Code::kNotFound, "another store answers");
    }
    checked_index_ = answer->index;
    return Status();
  }

  // Takes a poll's answer that is not empty.
  Status TakeEvent(const EtcdV2Answer& answer) {
    if (answer.cluster_id != cluster_id_) return Status(Code::kNotFound, "another store answers");
    const std::int64_t error = answer.error();
    if (error == kEtcdIndexOutdated || error == kEtcdWatcherCleared) {
      return Status(Code::kNotFound, "the history is gone");
    }
    const json* node = ObjectMember(&answer.body, "node");
    if (answer.status != 200 || node == nullptr) return session_.ToStatus(answer);

    const std::int64_t index = IntMember(node, "modifiedIndex");
    if (index <= index_) return Status(Code::kInternal, "the index went back");
    index_ = index;
    reporter_->Count("watch_event");
    const std::string key = StringMember(node, "key");
    const std::string action = StringMember(&answer.body, "action");
    if (action == "delete" || action == "expire" || action == "compareAndDelete") {
      store_->Erase(key, index);
      store_->EraseBelow(key + "/", index);
    } else if (IsDirectory(*node)) {
      store_->Erase(key, index);  // a directory in the place of a record
    } else if (!IsHidden(key)) {
      Status put = store_->Put(store_->Read(key, index, StringMember(node, "value")));
      if (!put.ok()) return put;
    }
    return Status();
  }

  // The failure is told, and the thread waits, only when no member could be read.
  void MemberFailed(const Status& status) {
    if (thread_.stopping()) return;
    const std::optional<std::string> error =
        failures_.Add(session_.endpoint_name(), status.message());
    session_.NextEndpoint();
    if (!error) return;
    reporter_->Failed(*error);
    thread_.SleepUntil(thread_.now() + backoff_.Next().count());
  }

  const std::string where_;
  std::atomic<bool> polling_ = false;
  EtcdFailures failures_;  // the source's thread only
  EtcdV2Session session_;

  // The source's thread only.
  std::int64_t index_ = 0;          // everything up to here is in the store
  std::int64_t checked_index_ = 0;  // the store's index before the poll under way began
  std::string cluster_id_;          // of the last list
};

}  // namespace

Result<std::unique_ptr<PeerSource>> NewEtcdV2Source(EtcdOptions etcd, PodFilter filter,
                                                    telemetry::Metrics& metrics, Env& env) {
  Result<PeerRules> rules = PeerRules::New(std::move(filter));
  if (!rules.ok()) return rules.status();
  Result<CheckedEtcdOptions> checked = CheckEtcdOptions(std::move(etcd), rules->ns(), env);
  if (!checked.ok()) return checked.status();
  return std::unique_ptr<PeerSource>(
      new EtcdV2Source(std::move(*checked), std::move(*rules), metrics, env));
}

}  // namespace podmirror::discovery
