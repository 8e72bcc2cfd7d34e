#include <absl/strings/numbers.h>

#include <atomic>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "discovery/bounded_json.h"
#include "discovery/etcd_failures.h"
#include "discovery/etcd_options.h"
#include "discovery/peer_rules.h"
#include "discovery/peer_source.h"
#include "discovery/pod_store.h"
#include "discovery/reporter.h"
#include "discovery/source_thread.h"
#include "net/http_client.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

// Error codes of the v2 API.
constexpr int kKeyNotFound = 100;
constexpr int kWatcherCleared = 400;
constexpr int kIndexOutdated = 401;

constexpr std::chrono::milliseconds kListTimeout{10'000};
// A quiet poll is given up and begun again: a server that is gone looks the same. etcd sends the
// head of its answer at once.
constexpr std::chrono::milliseconds kPollTimeout{30'000};
constexpr std::chrono::minutes kReconcileInterval{5};

SteadyMs SteadyNow() { return Env::Real().now().steady; }

// Members that may be missing or of another type: then 0, "" or null.
std::int64_t IntMember(const json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_number_integer() ? at->get<std::int64_t>() : 0;
}
std::string StringMember(const json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}
const json* ObjectMember(const json& object, const char* name) {
  const auto at = object.find(name);
  return at != object.end() && at->is_object() ? &*at : nullptr;
}
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
    const std::string key = StringMember(node, "key");
    if (value == node.end() || !value->is_string() || IsHidden(key)) continue;
    records.push_back(
        store.Read(key, IntMember(node, "modifiedIndex"), value->get_ref<const std::string&>()));
  }
}

// What a person sees of an error answer: etcd's own words where it has some.
Status ErrorOf(const net::HttpResponse& response, const json& body) {
  const std::string message = body.is_object() ? StringMember(body, "message") : std::string();
  const bool refused = response.status == 401 || response.status == 403;
  return Status(refused ? Code::kRefused : Code::kUnavailable,
                "HTTP " + std::to_string(response.status) + (message.empty() ? "" : " ") + message);
}

// Recursive get, then one long poll per change; whatever goes wrong, get again.
class EtcdV2Source final : public PeerSource {
 public:
  EtcdV2Source(std::string where, std::vector<std::unique_ptr<net::HttpClient>> members,
               std::vector<std::string> names, PeerRules rules, telemetry::Metrics& metrics)
      : where_(std::move(where)),
        names_(std::move(names)),
        members_(std::move(members)),
        metrics_(metrics),
        rules_(std::move(rules)),
        thread_([this] { Wake(); }),
        failures_(members_.size()) {}

  ~EtcdV2Source() override { Stop(); }

  void Start(SourceEvents events) override {
    reporter_ = std::make_unique<Reporter>(std::move(events), metrics_);
    store_ = std::make_unique<PodStore>(rules_,
                                        [this](const std::string& key, const std::string& reason) {
                                          reporter_->Unreadable(key, reason);
                                        });
    thread_.Start([this] { Run(); });
  }
  void Stop() override { thread_.Stop(); }
  void Refresh() override { thread_.Refresh(); }

 private:
  // A refresh ends a poll, which may have long to go; a list is what it asks for.
  void Wake() {
    if (!polling_ && !thread_.stopping()) return;
    for (const auto& member : members_) member->Cancel();
  }

  void Run() {
    while (!thread_.stopping()) {
      thread_.BeginRead();
      if (Status status = List(); !status.ok()) {
        MemberFailed(status);
        continue;
      }
      backoff_.Reset();
      if (Watch().ok()) continue;
      reporter_->Count("error");
      NextMember();
      thread_.SleepUntil(SteadyNow() + backoff_.Next().count());
    }
  }

  net::HttpClient& member() { return *members_[member_]; }
  void NextMember() { member_ = (member_ + 1) % members_.size(); }
  std::string Target(const std::string& query) const { return "/v2/keys" + where_ + "?" + query; }

  Status List() {
    net::HttpResponse response;
    // A wake that came late, for a poll that had ended, is not for us.
    do {
      member().Rearm();
      if (thread_.stopping()) return Status(Code::kUnavailable, "stopping");
      Result<net::HttpResponse> got =
          member().Get({.target = Target("recursive=true&sorted=true&quorum=true"),
                        .read_timeout = kListTimeout});
      if (got.ok()) {
        response = std::move(*got);
      } else if (!member().cancelled()) {
        return got.status();
      }
    } while (response.status == 0);

    const json body = ParseBoundedJson(response.body);
    std::vector<ReadRecord> records;
    std::int64_t index = 0;
    const auto header = response.headers.find("x-etcd-index");
    const bool has_index =
        header != response.headers.end() && absl::SimpleAtoi(header->second, &index) && index >= 0;
    if (!body.is_object() || !has_index) {
      return Status(Code::kInternal, "not an answer of etcd's v2 API (is it on? etcd --enable-v2)");
    }
    if (response.status == 200) {
      const json* node = ObjectMember(body, "node");
      if (node == nullptr || !IsDirectory(*node)) {
        return Status(Code::kInternal, where_ + " is not a directory");
      }
      CollectRecords(*node, *store_, records);
    } else if (IntMember(body, "errorCode") != kKeyNotFound) {  // which means: no pods yet
      return ErrorOf(response, body);
    }
    if (Status status = store_->Replace(std::move(records)); !status.ok()) return status;
    index_ = index;
    failures_.Clear();
    reporter_->Count(listed_ ? "relist" : "list");
    listed_ = true;
    Emit();
    return Status();
  }

  // OK when it is time to list again, or to stop.
  Status Watch() {
    const SteadyMs planned = SteadyNow() + WithJitter(kReconcileInterval).count();
    while (true) {
      polling_ = true;
      member().Rearm();
      const SteadyMs due = thread_.ReadDue(planned);
      const SteadyMs left = due - SteadyNow();
      if (thread_.stopping() || left <= 0) {
        polling_ = false;
        return Status();
      }
      const Result<net::HttpResponse> response = member().Get(
          {.target = Target("wait=true&recursive=true&waitIndex=" + std::to_string(index_ + 1)),
           .read_timeout = std::min(kPollTimeout, std::chrono::milliseconds(left))});
      polling_ = false;
      if (!response.ok()) {
        if (member().cancelled()) continue;
        if (response.status().code() != Code::kDeadline) return response.status();
        Emit();  // etcd has taken the poll and nothing happened: what is known is still true
        continue;
      }
      Result<bool> go_on = TakeEvent(*response);
      if (!go_on.ok()) return go_on.status();
      if (!*go_on) return Status();
    }
  }

  // One answer to a poll. False when the history that we need is gone: list again.
  Result<bool> TakeEvent(const net::HttpResponse& response) {
    if (response.status == 200 && response.body.empty()) return true;  // the poll ended, no event
    const json body = ParseBoundedJson(response.body);
    if (!body.is_object()) return Status(Code::kInternal, "not an answer of etcd's v2 API");
    const std::int64_t error = IntMember(body, "errorCode");
    if (error == kIndexOutdated || error == kWatcherCleared) return false;
    const json* node = ObjectMember(body, "node");
    if (response.status != 200 || node == nullptr) return ErrorOf(response, body);

    const std::int64_t index = IntMember(*node, "modifiedIndex");
    if (index <= index_) return Status(Code::kInternal, "the index went back");
    index_ = index;
    reporter_->Count("watch_event");
    const std::string key = StringMember(*node, "key");
    const std::string action = StringMember(body, "action");
    if (action == "delete" || action == "expire" || action == "compareAndDelete") {
      store_->Erase(key, index);
      store_->EraseBelow(key + "/", index);
    } else if (!IsDirectory(*node) && !IsHidden(key)) {
      Status put = store_->Put(store_->Read(key, index, StringMember(*node, "value")));
      if (!put.ok()) return put;
    }
    Emit();
    return true;
  }

  void Emit() { reporter_->Peers(store_->MakeSet(where_), index_); }

  // Only when no member could be read is that a failure to tell, and a reason to wait.
  void MemberFailed(const Status& status) {
    if (thread_.stopping()) return;
    const std::optional<std::string> error = failures_.Add(names_[member_], status.message());
    NextMember();
    if (!error) return;
    reporter_->Failed(*error);
    thread_.SleepUntil(SteadyNow() + backoff_.Next().count());
  }

  const std::string where_;
  const std::vector<std::string> names_;
  const std::vector<std::unique_ptr<net::HttpClient>> members_;
  telemetry::Metrics& metrics_;
  const PeerRules rules_;
  std::atomic<bool> polling_ = false;
  SourceThread thread_;

  // The source's thread only.
  std::unique_ptr<Reporter> reporter_;
  std::unique_ptr<PodStore> store_;
  Backoff backoff_;
  std::size_t member_ = 0;
  std::int64_t index_ = 0;  // everything up to here is in the store
  bool listed_ = false;
  EtcdFailures failures_;
};

}  // namespace

Result<std::unique_ptr<PeerSource>> NewEtcdV2Source(EtcdOptions etcd, PodFilter filter,
                                                    telemetry::Metrics& metrics) {
  Result<PeerRules> rules = PeerRules::New(std::move(filter));
  if (!rules.ok()) return rules.status();
  Result<CheckedEtcdOptions> checked = CheckEtcdOptions(std::move(etcd), rules->ns());
  if (!checked.ok()) return checked.status();
  const EtcdOptions& options = checked->options;
  std::string password;
  if (!options.user.empty()) {
    Result<std::string> read = ReadPassword(options);
    if (!read.ok()) return read.status();
    password = std::move(*read);
  }
  std::vector<std::unique_ptr<net::HttpClient>> members;
  std::vector<std::string> names;
  for (const net::BaseUrl& endpoint : checked->endpoints) {
    net::HttpClientOptions client = {.server = endpoint,
                                     .ca_file = endpoint.https ? options.ca_file : "",
                                     .cert_file = endpoint.https ? options.cert_file : "",
                                     .key_file = endpoint.https ? options.key_file : "",
                                     .user = options.user,
                                     .password = password};
    Result<std::unique_ptr<net::HttpClient>> member = net::NewHttpClient(std::move(client));
    if (!member.ok()) return member.status();
    members.push_back(std::move(*member));
    names.push_back(endpoint.ToString());
  }
  return std::unique_ptr<PeerSource>(new EtcdV2Source(
      checked->where, std::move(members), std::move(names), std::move(*rules), metrics));
}

}  // namespace podmirror::discovery
