// Requests to the REST routes of one node, alone or with a peer that never answers: each is
// answered once, with a status and a document of the contract; a refusal changes nothing, and what
// was taken is what was asked.
//
// Input: parts between lines "---". A part is a request, "\n" for each end of a line:
//   METHOD TARGET
//   Field: value
//
//   body
// or something that happens to the node: "@wait 1500" (milliseconds pass), "@peer" (one is listed
// that never answers), "@alone" (it is not any more), "@drain", "@scan 1" (somebody lists that type
// page by page). An input that begins with "@joining" meets a node that is not ready.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/cache.h"
#include "fuzz/require.h"
#include "fuzz/rest_answer.h"
#include "rest/http_frame.h"
#include "rest/routes.h"
#include "unit/sync/sync_testing.h"

namespace podmirror::rest {
namespace {

constexpr int kMaxRequests = 64;
constexpr int kMaxLists = 1;  // each looks at every bucket
constexpr std::int64_t kMaxWaitMs = 3'600'000;
constexpr std::uint64_t kMaxMemory = 8 * 1024;

RestOptions SmallLimits() {
  RestOptions options;
  options.items.max_key_bytes = kKeyLimit;
  options.items.max_value_bytes = 64;
  options.max_batch_bytes = 4096;
  return options;
}

// --- the node ---

class Recorder final : public Responder {
 public:
  void Answer(Response response) override {
    Require(!answer, "a request is answered once");
    answer = std::move(response);
  }
  const Client& client() const override { return client_; }
  std::optional<Response> answer;

 private:
  const Client client_{};
};

// Made once, for it takes long; emptied between inputs.
struct Shared {
  // Leaves nothing behind. Time goes on, so what an earlier input did is older than any floor.
  void Empty() {
    env.Advance(1000);
    const Now now = env.now();
    const std::uint64_t floor = HlcOf(now.wall);
    cache.RaiseFloor(floor);
    cache.Purge();
    for (const EntryRef& entry : Entries()) {
      cache.Merge(Entry::MakeTombstone(entry->type(), entry->key(), {floor, 0}), now.wall);
    }
    env.Advance(1000);
    const CacheStats stats = cache.Stats();
    Require(stats.entries + stats.tombstones + stats.bytes + stats.memory + cache.digest() == 0,
            "an empty cache counts nothing");
  }

  std::vector<EntryRef> Entries() const {
    std::vector<EntryRef> entries;
    const auto sums = cache.group_sums();
    for (std::uint32_t group = 0; group < kGroups; ++group) {
      if (sums[group] == 0) continue;
      const std::uint32_t begin = group * kBucketsPerGroup;
      for (std::uint32_t bucket = begin; bucket < begin + kBucketsPerGroup; ++bucket) {
        for (EntryRef& entry : cache.Bucket(bucket)) entries.push_back(std::move(entry));
      }
    }
    return entries;
  }

  ChangeLog changes{64 * 1024};
  Cache cache{&changes};
  watch::Feeds feeds{cache, changes, {}};
  sync::FakeEnv env;
  telemetry::Metrics metrics;
  const trust::Guard guard{env};
  const trust::Audit audit{trust::Audit::Level::kOff, nullptr};
  const trust::Access access{guard, audit};
  net::BulkThread scan{"scan"};
};

class Node {
 public:
  Node(Shared& shared, bool joining)
      : shared_(shared),
        driver_(Options(), shared.cache, shared.env, transport_, {}),
        routes_(SmallLimits(),
                {shared.cache, shared.changes, shared.feeds, driver_, shared.metrics, shared.env,
                 [] { return DiscoveryView(); }, [] { return std::string(); }, nullptr,
                 shared.access, shared.scan}) {
    if (!joining) driver_.SetPeers(sync::SetOf({}));
    Require(driver_.ready() == !joining, "a node that is alone is ready");
  }

  void Play(std::string_view part) {
    if (part.starts_with('@')) return Happen(part);
    if (++requests_ > kMaxRequests) return;
    const std::size_t blank = std::min(part.find("\n\n"), part.size());
    std::string_view lines = part.substr(0, blank);
    const std::string_view body = part.substr(std::min(blank + 2, part.size()));
    std::string bytes;
    std::string_view end_of_line = " HTTP/1.1\r\nHost: h\r\n";
    while (!lines.empty()) {
      const std::size_t end = std::min(lines.find('\n'), lines.size());
      bytes.append(lines.substr(0, end)).append(std::exchange(end_of_line, "\r\n"));
      lines.remove_prefix(std::min(end + 1, lines.size()));
    }
    bytes += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n";
    bytes += body;
    RequestReader reader({SmallLimits().items.max_value_bytes, SmallLimits().max_batch_bytes});
    if (reader.Read(bytes) == FrameState::kComplete) Ask(reader.request(bytes));
  }

  // Every write that is still waiting gets its answer.
  void End() {
    Wait(sync::kMaxAckTimeoutMs + 1000);
    Require(pending_.empty(), "a write is answered by its timeout");
    Require(Get("/healthz").status == 200, "a node that works is healthy");
  }

 private:
  // A write that was taken, and what its answer must hold besides "ack".
  struct Pending {
    std::shared_ptr<Recorder> recorder;
    json document;
  };

  static sync::NodeOptions Options() {
    sync::NodeOptions options = sync::OptionsOf(1);
    options.max_memory = kMaxMemory;
    options.backlog_bytes = 1024;
    return options;
  }

  void Happen(std::string_view what) {
    const std::size_t blank = std::min(what.find(' ') + 1, what.size());
    std::int32_t number = 0;
    std::from_chars(what.data() + blank, what.data() + what.size(), number);
    if (what.starts_with("@wait")) Wait(std::clamp<std::int64_t>(number, 0, kMaxWaitMs));
    if (what.starts_with("@peer")) driver_.SetPeers(sync::SetOf({2}));
    if (what.starts_with("@alone")) driver_.SetPeers(sync::SetOf({}));
    if (what.starts_with("@drain")) driver_.BeginDrain();
    if (what.starts_with("@scan") && driver_.ready() && ++lists_ <= kMaxLists) Scan(number);
    TakeAnswers();
  }

  void Wait(std::int64_t ms) {
    shared_.env.Advance(ms);
    driver_.Tick();
    TakeAnswers();
  }

  Response Get(const std::string& target) {
    const auto recorder = std::make_shared<Recorder>();
    std::optional<Response> response =
        routes_.Handle({.method = "GET", .target = target, .body = {}, .fields = {}}, recorder);
    Require(response.has_value() && !recorder->answer, "a read is answered at once");
    return std::move(*response);
  }

  void Ask(const Request& request) {
    const Route route = MatchRoute(SplitTarget(request.target).path).route;
    // A delete by prefix is applied by another thread, at a moment that no input decides.
    if (route == Route::kCacheType && request.method == "DELETE") return;
    if (route == Route::kCacheType && ++lists_ > kMaxLists) return;
    const bool ready = driver_.ready();
    const bool joining = driver_.Status().state == sync::NodeState::kBootstrapping;
    const auto recorder = std::make_shared<Recorder>();
    const std::uint64_t before = shared_.cache.digest();
    const std::optional<Response> response = routes_.Handle(request, recorder);
    if (response) {
      Require(!recorder->answer, "a request is answered once");
      Require(shared_.cache.digest() == before, "a read or a refusal changes nothing");
      CheckAny(request, *response, ready);
      Require(
          !joining || route < Route::kCache || (response->status >= 400 && response->status != 404),
          "a node that is joining says nothing of its data");
      if (response->status < 400) CheckRead(request, route, *response);
      return;
    }
    if (request.method == "GET" || request.method == "HEAD") {
      CheckWaiting(*recorder);
      return;
    }
    Require(ready, "a node that is not ready takes no writes");
    Require(request.method == "POST" || request.method == "PUT" || request.method == "DELETE",
            "only writes wait for an answer");
    pending_.push_back(
        {recorder, request.method == "POST" ? CheckBatch(request.body) : CheckEntry(request)});
    TakeAnswers();
  }

  // --- reads ---

  // A read that waits for another version: here none comes, but its entry may expire.
  void CheckWaiting(const Recorder& recorder) {
    Require(!routes_.Look() && !recorder.answer, "a read waits as long as nothing changes");
    shared_.env.Advance(kMaxWaitMs);
    routes_.Tick();
    Require(recorder.answer && (recorder.answer->status == 304 || recorder.answer->status == 404),
            "a read waits for so long and no longer");
    CheckHead(*recorder.answer);
  }

  // Its state, and then nothing, as nothing changes.
  void CheckWatch(const Response& response) const {
    Require(response.stream != nullptr, "a watch is a stream");
    std::string told;
    do {
      while (const Stream::Bytes bytes = response.stream->Next()) told += *bytes;
    } while (response.stream->more());
    Require(told.find("synced") != std::string::npos, "a watch comes to its end");
  }

  void CheckRead(const Request& request, Route route, const Response& response) {
    if (route == Route::kWatch) {
      CheckWatch(response);
    } else if (route == Route::kCacheEntry) {
      const EntryPath path = PathOf(request.target);
      const EntryRef entry = Find(path.type, path.key);
      Require(static_cast<bool>(entry), "only what is here is answered");
      Require(response.headers.find("ETag: \"" + entry->version().ToString() + "\"\r\n") !=
                  std::string::npos,
              "a value comes with its version");
      Require(response.status == 304 || response.body_size() != 0 || entry->value().empty(),
              "a value comes whole");
      if (response.value) Require(response.value->value() == entry->value(), "the value is here");
      if (response.status == 200 && !response.value) CheckListed(path.type, Parsed(response.body));
    } else if (route == Route::kCacheType) {
      const std::string_view path = SplitTarget(request.target).path;
      const std::int32_t type = std::stoi(std::string(path.substr(path.rfind('/') + 1)));
      const json page = Parsed(response.body);
      for (const json& entry : page["entries"]) CheckListed(type, entry);
    } else if (route == Route::kCache) {
      Require(Parsed(response.body)["types"].size() == shared_.cache.Types().size(),
              "every type is named");
    }
  }

  EntryRef Find(std::int32_t type, std::string_view key) const {
    return shared_.cache.Find(type, key, shared_.env.now().wall);
  }

  void CheckListed(std::int32_t type, const json& listed) const {
    const EntryRef entry = Find(type, listed["key"].get<std::string>());
    Require(entry && ValueOf(listed) == entry->value() &&
                listed["version"] == entry->version().ToString() &&
                listed["ttl_ms"].is_null() == (entry->expires_at() == 0),
            "what a document says of an entry is here");
  }

  void Scan(std::int32_t type) {
    std::set<std::string> listed;
    std::string cursor;
    do {
      const json page =
          Parsed(Get("/v1/cache/" + std::to_string(type) + "?limit=2&cursor=" + cursor).body);
      for (const json& entry : page["entries"]) {
        CheckListed(type, entry);
        Require(listed.insert(entry["key"]).second, "a scan lists an entry once");
      }
      Require(page["entries"].size() <= 2, "a page is within its limit");
      cursor = page.value("cursor", "");
    } while (!cursor.empty());
    for (const EntryRef& entry : shared_.Entries()) {
      const std::string key(entry->key());
      Require(entry->type() != type || !Find(type, key) || listed.contains(key),
              "a scan lists every entry");
    }
  }

  // --- writes that were taken: what they did, and what their answer must say ---

  json CheckEntry(const Request& request) {
    const EntryPath path = PathOf(request.target);
    const EntryRef entry = shared_.cache.Peek(path.type, path.key);
    const bool remove = request.method == "DELETE";
    Require(entry && entry->tombstone() == remove, "a write is seen at once");
    Require(remove || entry->value() == request.body, "the value is the body");
    const Response read = Get("/v1/cache/" + std::to_string(path.type) + "/" + Encoded(path.key));
    Require(read.status == (remove ? 404 : 200), "what was written is read under its key");
    return {{"type", path.type}, {"key", path.key}, {"version", entry->version().ToString()}};
  }

  json CheckBatch(std::string_view body) {
    const json document = Parsed(body);
    std::size_t sets = 0;
    std::size_t deletes = 0;
    for (const json& item : document.value("data", json::array())) {
      for (const auto& [key, value] : item["data"].items()) {
        const EntryRef entry = shared_.cache.Peek(item["type"], key);
        const json said =
            value.is_string() ? json{{"value", value}} : json{{"value_base64", value["base64"]}};
        Require(entry && !entry->tombstone() && entry->value() == ValueOf(said) &&
                    (entry->expires_at() != 0 || !item.contains("ttl")),
                "a batch puts what it says");
        ++sets;
      }
    }
    for (const json& item : document.value("delete", json::array())) {
      for (const json& key : item["keys"]) {
        const EntryRef entry = shared_.cache.Peek(item["type"], key.get<std::string>());
        Require(entry && entry->tombstone(), "a batch deletes what it says");
        ++deletes;
      }
    }
    json answer = {{"set", sets}, {"deleted", deletes}};
    if (!document.contains("touch")) return answer;
    std::size_t touched = 0;
    std::size_t missing = 0;
    for (const json& item : document["touch"]) {
      for (const json& key : item["keys"]) {
        const EntryRef entry = Find(item["type"], key.get<std::string>());
        Require(!entry || entry->expires_at() != 0, "what is touched expires");
        ++(entry ? touched : missing);
      }
    }
    answer.update({{"touched", touched}, {"missing", missing}});
    return answer;
  }

  void TakeAnswers() {
    std::erase_if(pending_, [](const Pending& pending) {
      if (!pending.recorder->answer) return false;
      CheckAnswer(pending, *pending.recorder->answer);
      return true;
    });
  }

  static void CheckAnswer(const Pending& pending, const Response& response) {
    CheckHead(response);
    json document = Parsed(response.body);
    const json ack = document["ack"];
    document.erase("ack");
    Require(document == pending.document, "the answer tells what was written");
    const std::size_t peers = ack["peers"];
    const std::size_t acked = ack["acked"];
    Require(acked + ack["pending"].size() == peers, "every peer has acknowledged or is pending");
    const std::string required = ack["required"];
    const std::size_t needed = required == "local"      ? 0
                               : required == "one"      ? std::min<std::size_t>(peers, 1)
                               : required == "majority" ? (peers + 1) / 2
                                                        : peers;
    Require(response.status == (acked >= needed ? 200 : 202), "202 says that some are missing");
  }

  Shared& shared_;
  sync::FakeTransport transport_;
  sync::Driver driver_;
  Routes routes_;
  std::vector<Pending> pending_;
  int requests_ = 0;
  int lists_ = 0;
};

}  // namespace

void CheckInput(std::string_view input) {
  constexpr std::string_view kBetween = "\n---\n";
  static auto* const shared = new Shared;
  {
    Node node(*shared, input.starts_with("@joining"));
    while (!input.empty()) {
      const std::size_t end = std::min(input.find(kBetween), input.size());
      node.Play(input.substr(0, end));
      input.remove_prefix(std::min(end + kBetween.size(), input.size()));
    }
    node.End();
  }
  shared->Empty();
}

}  // namespace podmirror::rest

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podmirror::rest::CheckInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
