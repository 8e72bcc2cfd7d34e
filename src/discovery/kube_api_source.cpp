#include <algorithm>
#include <atomic>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "discovery/kube_api_client.h"
#include "discovery/peer_rules.h"
#include "discovery/record_source.h"

namespace podmirror::discovery {
namespace {

// Lists, then watches from there; a watch that ends well is followed by one from where it ended.
class KubeApiSource final : public RecordSource {
 public:
  KubeApiSource(PeerRules rules, telemetry::Metrics& metrics, Env& env)
      : RecordSource(PodRecordRules(rules), metrics, env), rules_(std::move(rules)) {}
  ~KubeApiSource() override { Stop(); }

  // Requires: Start has not been called.
  Status Connect(KubeApiOptions options, const std::string& selector, Env& env) {
    Result<std::unique_ptr<KubeApiClient>> client = KubeApiClient::New(
        std::move(options), rules_.ns(), selector, [this] { return thread_.stopping(); }, env);
    if (!client.ok()) return client.status();
    client_ = std::move(*client);
    return Status();
  }

 private:
  // What is to be done after a watch.
  enum class Next { kWatch, kList };

  // A Refresh asks for a list: so it ends a watch, which may last long, but not a list.
  void Wake() override {
    if (watching_ || thread_.stopping()) client_->Cancel();
  }

  void Run() override {
    while (!thread_.stopping()) {
      thread_.BeginRead();
      if (const Status status = List(); !status.ok()) {
        if (thread_.stopping()) return;
        Tell(status);
        Wait();
        continue;
      }
      const SteadyMs planned = thread_.now() + thread_.WithJitter(kReconcileInterval).count();
      refused_ = false;
      while (Watch(planned) == Next::kWatch) continue;
    }
  }

  Status List() {
    std::vector<ReadRecord> records;
    const Result<std::int64_t> revision =
        client_->List([&] { records.clear(); },
                      [&](const KubePod& pod) {
                        if (records.size() > kMaxRecords) {
                          return Status(Code::kExhausted, "too many pod records");
                        }
                        records.push_back(ReadPod(rules_, Key(pod.name), pod.revision, pod.pod));
                        return Status();
                      });
    if (!revision.ok()) return revision.status();
    if (Status status = store_->Replace(std::move(records)); !status.ok()) return status;
    revision_ = *revision;
    CountList();
    Emit();
    return Status();
  }

  Next Watch(SteadyMs planned) {
    watching_ = true;
    client_->Rearm();
    // When a refresh is wanted but not due yet, waits for it: else each refresh would open a watch
    // and end it at once.
    if (thread_.stopping() || thread_.now() >= planned || thread_.ReadDue(planned) != planned) {
      watching_ = false;
      thread_.SleepUntil(planned);
      return Next::kList;
    }
    opened_ = false;
    events_ = 0;
    const SteadyMs start = thread_.now();
    const Status status = client_->Watch(revision_, planned,
                                         {.opened = [this] { return Opened(); },
                                          .event = [this](KubeEvent event) { return Apply(event); },
                                          .settled = [this] { Emit(); }});
    watching_ = false;
    if (thread_.stopping()) return Next::kList;
    // A wait that the API asked for counts, even when a refresh came in the same moment.
    if (client_->cancelled() && client_->retry_after().count() == 0) return Next::kWatch;
    if (thread_.now() >= planned) return Next::kList;
    return Ended(status, /*brief=*/!opened_ || thread_.now() - start < kShortWatchMs);
  }

  // The API has taken the watch. If it refused the last one, the watch is ended again, because the
  // list that follows is the good answer that takes the error away.
  bool Opened() {
    opened_ = true;
    return !refused_;
  }

  Next Ended(const Status& status, bool brief) {
    if (!brief) {
      backoff_.Reset();
      brief_in_a_row_ = 0;
    }
    if (status.ok() && refused_) return Next::kList;
    const bool over = status.ok() || status.code() == Code::kNotFound;
    if (!over) reporter_->Count("error");
    // Silence means that the server is gone or that nothing happens: a list tells which.
    const bool silent = status.code() == Code::kDeadline;
    // A watch that ends soon, but has brought events, is followed at once by the next. A second one
    // in a row is not.
    const bool at_once = over && (!brief || (events_ > 0 && brief_in_a_row_ == 0));
    if (brief) ++brief_in_a_row_;
    if (status.code() == Code::kRefused) {
      // A list may well succeed, but would make it look as if all were in order: no list for now.
      refused_ = true;
      Tell(status);
    }
    if (!at_once && !(silent && !brief)) Wait();
    if (status.ok() || status.code() == Code::kRefused) return Next::kWatch;
    return over || silent || !opened_ || events_ == 0 ? Next::kList : Next::kWatch;
  }

  Status Apply(KubeEvent& event) {
    using enum KubeEvent::Type;
    if (event.type == kUnknown) return Status();
    ++events_;
    reporter_->Count("watch_event");
    revision_ = std::max(revision_, event.revision);
    if (event.type == kDelete) {
      // Events come in order, so this one counts, though its revision may be that of the change
      // before it.
      store_->Erase(Key(event.pod->name), std::numeric_limits<std::int64_t>::max());
    } else if (event.type == kPut) {
      return store_->Put(
          ReadPod(rules_, Key(event.pod->name), event.pod->revision, event.pod->pod));
    }
    return Status();
  }

  std::string Key(const std::string& name) const { return client_->path() + "/" + name; }

  void Emit() { reporter_->Peers(store_->MakeSet(client_->path()), revision_); }

  void Tell(const Status& status) {
    reporter_->Failed("Kubernetes API " + client_->server() + ": " + status.message());
  }

  // Back-off, or longer where the API asked for it.
  void Wait() {
    const std::chrono::milliseconds step = backoff_.Next();
    const std::chrono::milliseconds asked = client_->retry_after();
    if (asked.count() > 0) {
      thread_.PauseUntil(thread_.now() + std::max(step, thread_.WithJitter(asked)).count());
    } else {
      thread_.SleepUntil(thread_.now() + step.count());
    }
  }

  const PeerRules rules_;
  std::atomic<bool> watching_ = false;
  std::unique_ptr<KubeApiClient> client_;  // asks thread_; constant after Connect

  // The source's thread only.
  std::int64_t revision_ = 0;  // everything up to here is in the store
  bool refused_ = false;       // the API lists, but does not let us watch; the error is told
  bool opened_ = false;        // of this watch: the API has taken it
  int events_ = 0;             // of this watch
  int brief_in_a_row_ = 0;     // watches that were short
};

}  // namespace

Result<std::unique_ptr<PeerSource>> NewKubeApiSource(KubeApiOptions options, PodFilter filter,
                                                     telemetry::Metrics& metrics, Env& env) {
  const std::string selector = filter.selector;
  Result<PeerRules> rules = PeerRules::New(std::move(filter));
  if (!rules.ok()) return rules.status();
  auto source = std::make_unique<KubeApiSource>(std::move(*rules), metrics, env);
  if (Status status = source->Connect(std::move(options), selector, env); !status.ok())
    return status;
  return std::unique_ptr<PeerSource>(std::move(source));
}

}  // namespace podmirror::discovery
