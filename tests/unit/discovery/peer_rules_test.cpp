#include "discovery/peer_rules.h"

#include "fixtures.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

PodFilter Filter() {
  PodFilter filter;
  filter.self = {.name = "relay-0", .ns = "default", .uid = "u-0", .ip = "10.0.0.100"};
  filter.ns = "default";
  filter.service = "relay";
  filter.peer_port = 7070;
  return filter;
}

PeerRules Rules(PodFilter filter) {
  Result<PeerRules> rules = PeerRules::New(std::move(filter));
  INFO(rules.status().ToString());
  REQUIRE(rules.ok());
  return *rules;
}

Pod PodOf(const json& value) {
  const Result<Pod> pod = DecodePod(value.dump());
  INFO(pod.status().ToString());
  REQUIRE(pod.ok());
  return *pod;
}

Judgement JudgeJson(const PodFilter& filter, const json& value) {
  const Result<Judgement> judgement = Rules(filter).Judge(PodOf(value));
  INFO(judgement.status().ToString());
  REQUIRE(judgement.ok());
  return *judgement;
}

PeerSet SetOf(const PodFilter& filter, const std::vector<json>& values) {
  std::vector<Judgement> judgements;
  for (const json& value : values) judgements.push_back(JudgeJson(filter, value));
  std::vector<const Judgement*> pointers;
  for (const Judgement& judgement : judgements) pointers.push_back(&judgement);
  return Rules(filter).MakeSet(pointers, "/registry/pods/default");
}

json Named(const std::string& name, const std::string& uid, const std::string& ip,
           const std::string& started) {
  json pod = RunningPod();
  pod["metadata"]["name"] = name;
  pod["metadata"]["uid"] = uid;
  pod["status"]["podIP"] = ip;
  pod["status"]["podIPs"] = json::array({{{"ip", ip}}});
  pod["status"]["containerStatuses"][1]["state"]["running"]["startedAt"] = started;
  return pod;
}

std::string FilterError(const PodFilter& filter) {
  const Result<PeerRules> rules = PeerRules::New(filter);
  REQUIRE_FALSE(rules.ok());
  CHECK(rules.status().code() == Code::kInvalid);
  return rules.status().message();
}

TEST_CASE("the stored records: who is a peer, and why not") {
  struct Case {
    const char* name;
    Verdict verdict;
    const char* ip;
    bool ready;
  };
  const Case kCases[] = {
      {"a-pending-unscheduled", Verdict::kNoAddress, "", false},
      {"b-pending-scheduled", Verdict::kNoAddress, "", false},
      {"c-running-ready", Verdict::kPeer, "10.1.0.3", true},
      {"d-running-notready", Verdict::kPeer, "10.1.0.4", false},
      {"e-crashloop", Verdict::kContainerNotRunning, "", false},
      {"f-two-containers-one-terminated", Verdict::kPeer, "10.1.0.6", false},
      {"g-init-running", Verdict::kContainerNotRunning, "", false},
      {"h-succeeded", Verdict::kNotRunning, "", false},
      {"i-failed-evicted", Verdict::kNotRunning, "", false},
      {"j-terminating", Verdict::kTerminating, "10.1.0.10", true},
      {"k-dualstack", Verdict::kPeer, "10.1.0.11", true},
      {"l-ipv6-only", Verdict::kPeer, "2001:db8::12", true},
      {"m-hostnetwork", Verdict::kPeer, "192.0.2.11", true},
      {"n-running-no-podip", Verdict::kNoAddress, "", false},
      {"o-readiness-gate-false", Verdict::kPeer, "10.1.0.15", false},
      {"p-canary-label", Verdict::kNotSelected, "", false},
      {"q-unknown-phase", Verdict::kNotRunning, "", false},
  };
  PodFilter filter = Filter();
  filter.ns = "peers";
  filter.service = "";
  filter.selector = "app=relay,track=stable";
  const PeerRules rules = Rules(filter);
  for (const Case& wanted : kCases) {
    INFO(wanted.name);
    const Result<Pod> pod = DecodePod(StoredPod(wanted.name));
    REQUIRE(pod.ok());
    const Result<Judgement> judgement = rules.Judge(*pod);
    REQUIRE(judgement.ok());
    CHECK(judgement->verdict == wanted.verdict);
    CHECK(judgement->record.ip == wanted.ip);
    CHECK(judgement->record.ready == wanted.ready);
    if (wanted.verdict != Verdict::kPeer) continue;
    CHECK(judgement->record.name == wanted.name);
    CHECK(judgement->record.port == 7070);
    CHECK(judgement->record.phase == "Running");
    CHECK(judgement->record.started_at_ms ==
          (std::string(wanted.name)[0] == 'f' ? 1709287209000 : 1709287205000));
  }
}

TEST_CASE("service is a part of the name, and only the namespace counts") {
  json pod = RunningPod();
  pod["metadata"]["name"] = "my-relay-7d9c-x";
  CHECK(JudgeJson(Filter(), pod).verdict == Verdict::kPeer);
  pod["metadata"]["name"] = "web-1";
  CHECK(JudgeJson(Filter(), pod).verdict == Verdict::kNotSelected);
  pod = RunningPod();
  pod["metadata"]["namespace"] = "default-two";
  CHECK(JudgeJson(Filter(), pod).verdict == Verdict::kOtherNamespace);
}

TEST_CASE("whose startedAt counts") {
  PodFilter filter = Filter();
  json pod = RunningPod();  // statuses are sorted by name, the spec names relay first
  CHECK(JudgeJson(filter, pod).record.started_at_ms == 1709287205000);
  filter.container = "logger";
  CHECK(JudgeJson(filter, pod).record.started_at_ms == 1709287201000);
  filter.container = "other";
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kContainerNotRunning);

  pod["spec"]["initContainers"] = json::array({{{"name", "other"}}});
  pod["status"]["initContainerStatuses"] = json::parse(
      R"([{"name": "other", "state": {"running": {"startedAt": "2024-03-01T09:00:00Z"}}}])");
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kContainerNotRunning);
  pod["spec"]["initContainers"][0]["restartPolicy"] = "Always";
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kPeer);
  CHECK(JudgeJson(filter, pod).record.started_at_ms == 1709283600000);

  filter.container = "";
  pod = RunningPod();
  pod["spec"].erase("containers");
  CHECK(JudgeJson(filter, pod).record.started_at_ms == 1709287201000);
  pod["status"].erase("containerStatuses");
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kContainerNotRunning);
}

TEST_CASE("a sidecar is a peer as soon as it runs, whatever its pod waits for") {
  PodFilter filter = Filter();
  filter.container = "relay";
  json pod = SidecarPod();
  Judgement judged = JudgeJson(filter, pod);
  CHECK(judged.verdict == Verdict::kPeer);
  CHECK(judged.record.phase == "Pending");
  CHECK(judged.record.started_at_ms == 1709287205000);

  pod["status"]["phase"] = "Running";
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kPeer);
  for (const char* ended : {"Succeeded", "Failed", "Unknown", ""}) {
    INFO(ended);
    pod["status"]["phase"] = ended;
    CHECK(JudgeJson(filter, pod).verdict == Verdict::kNotRunning);
  }
  pod = SidecarPod();
  pod["metadata"]["deletionTimestamp"] = "2034-03-01T10:00:07Z";
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kTerminating);
  pod = SidecarPod();
  pod["status"].erase("podIP");
  pod["status"].erase("podIPs");
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kNoAddress);
  pod = SidecarPod();
  pod["status"]["initContainerStatuses"][1]["state"] = json::parse(R"({"waiting": {}})");
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kContainerNotRunning);

  // Which of the init containers it is has to be said.
  filter.container = "";
  CHECK(JudgeJson(filter, SidecarPod()).verdict == Verdict::kContainerNotRunning);
}

TEST_CASE("a container runs while another one of its Pending pod has no image yet") {
  json pod = RunningPod();
  pod["status"]["phase"] = "Pending";
  pod["status"]["containerStatuses"][0]["state"] =
      json::parse(R"({"waiting": {"reason": "ImagePullBackOff"}})");
  CHECK(JudgeJson(Filter(), pod).verdict == Verdict::kPeer);
}

TEST_CASE("whether the data is there: the pod is Ready, or a sidecar says so of itself") {
  PodFilter filter = Filter();
  filter.container = "relay";
  const auto ready = [&](const json& pod) { return JudgeJson(filter, pod).record.ready; };
  const auto condition = [](json& pod, int number, const char* status) {
    pod["status"]["conditions"][number]["status"] = status;
  };
  json pod = SidecarPod();
  CHECK(ready(pod));
  pod["status"]["phase"] = "Running";  // the application runs and fails its probe
  CHECK(ready(pod));
  pod["status"]["initContainerStatuses"][1]["ready"] = false;
  CHECK_FALSE(ready(pod));

  SECTION("of a lost node only Ready is taken back") {
    pod = SidecarPod();
    pod["status"]["phase"] = "Running";
    condition(pod, 2, "True");
    condition(pod, 3, "True");
    CHECK(ready(pod));
    condition(pod, 2, "False");
    CHECK_FALSE(ready(pod));
    condition(pod, 2, "Unknown");
    condition(pod, 3, "False");
    CHECK_FALSE(ready(pod));
  }
  SECTION("of other containers only the pod's word counts") {
    pod = RunningPod();
    condition(pod, 0, "False");
    pod["status"]["conditions"].push_back({{"type", "ContainersReady"}, {"status", "False"}});
    CHECK_FALSE(ready(pod));
  }
}

TEST_CASE("a container in a crash loop is not a peer, one that runs but not since when is") {
  json pod = RunningPod();
  pod["status"]["containerStatuses"][1]["state"] = json::parse(R"({"waiting": {"reason": "x"}})");
  CHECK(JudgeJson(Filter(), pod).verdict == Verdict::kContainerNotRunning);
  pod["status"]["containerStatuses"][1]["state"] = json::parse(R"({"running": {}})");
  CHECK(JudgeJson(Filter(), pod).verdict == Verdict::kPeer);
  CHECK(JudgeJson(Filter(), pod).record.started_at_ms == 0);
}

TEST_CASE("addresses are canonical, and what is none makes the record unreadable") {
  json pod = RunningPod();
  pod["status"]["podIP"] = "2001:DB8:0:0::0:1";
  CHECK(JudgeJson(Filter(), pod).record.ip == "2001:db8::1");
  pod["status"].erase("podIP");
  CHECK(JudgeJson(Filter(), pod).record.ip == "10.0.0.1");
  for (const char* bad : {"10.0.0.256", "10.0.0.1:80", "[::1]", "fe80::1%eth0", "010.0.0.1",
                          "relay.example", " 10.0.0.1"}) {
    INFO(bad);
    pod["status"]["podIP"] = bad;
    CHECK_FALSE(Rules(Filter()).Judge(PodOf(pod)).ok());
  }
  const auto reason = [&](const std::string& ip) {
    pod["status"]["podIP"] = ip;
    return Rules(Filter()).Judge(PodOf(pod)).status().message();
  };
  CHECK(reason("010.0.0.1") == "podIP \"010.0.0.1\" is not an IP address");
  CHECK(reason("10.0.0.1\n") == "podIP is not an IP address");
  CHECK(reason(std::string(200, '0')) == "podIP is not an IP address");
  pod = RunningPod();
  for (const char* field : {"name", "uid"}) {
    for (const std::string& bad : {std::string("a\nb"), std::string("\xc3\xa9"),
                                   std::string(254, 'a'), std::string("a b")}) {
      json changed = pod;
      changed["metadata"][field] = bad;
      CHECK_FALSE(Rules(Filter()).Judge(PodOf(changed)).ok());
    }
  }
}

TEST_CASE("this pod is found by UID, else name, else IP, and is never a peer") {
  PodFilter filter = Filter();
  const json other = Named("relay-1", "u-1", "10.0.0.1", "2024-03-01T10:00:05Z");
  json own = Named("relay-0", "u-0", "10.0.0.100", "2024-03-01T10:00:07Z");

  PeerSet set = SetOf(filter, {own, other});
  CHECK(set.self_listed);
  CHECK(set.self_started_at_ms == 1709287207000);
  CHECK(set.where == "/registry/pods/default");
  REQUIRE(set.peers.size() == 1);
  CHECK(set.peers[0].name == "relay-1");

  SECTION("another UID under our name was a pod before us") {
    own["metadata"]["uid"] = "u-before";
    own["status"]["podIP"] = "10.0.0.99";
    set = SetOf(filter, {own, other});
    CHECK_FALSE(set.self_listed);
    CHECK(set.peers.size() == 2);
  }
  SECTION("UID not known: by name") {
    filter.self.uid = "";
    CHECK(SetOf(filter, {own, other}).self_listed);
    CHECK(SetOf(filter, {own, other}).peers.size() == 1);
    own["metadata"]["name"] = "relay-9";
    CHECK_FALSE(SetOf(filter, {own, other}).self_listed);
  }
  SECTION("only the address known") {
    filter.self.uid = filter.self.name = "";
    CHECK(SetOf(filter, {own, other}).self_listed);
    CHECK(SetOf(filter, {own, other}).peers.size() == 1);
  }
  SECTION("nothing known of us: not found") {
    filter.self = Identity();
    CHECK_FALSE(SetOf(filter, {own, other}).self_listed);
    CHECK(SetOf(filter, {own, other}).peers.size() == 2);
  }
  SECTION("pending and without address it is there all the same") {
    own["status"] = json::parse(R"({"phase": "Pending"})");
    set = SetOf(filter, {own, other});
    CHECK(set.self_listed);
    CHECK(set.self_started_at_ms == 0);
  }
  SECTION("terminating it is there all the same") {
    own["metadata"]["deletionTimestamp"] = "2034-03-01T10:00:07Z";
    CHECK(SetOf(filter, {own, other}).self_listed);
  }
  SECTION("of another service it is not there: we look in the wrong place") {
    filter.service = "relay-1";
    set = SetOf(filter, {own, other});
    CHECK_FALSE(set.self_listed);
    CHECK(set.peers.size() == 1);
  }
  SECTION("left-over records with our address are not peers") {
    const json stale = Named("relay-2", "u-2", "10.0.0.100", "2024-03-01T10:00:09Z");
    CHECK(SetOf(filter, {own, other, stale}).peers.size() == 1);
    filter.self.ip = "";  // then the own record tells our address
    CHECK(SetOf(filter, {own, other, stale}).peers.size() == 1);
  }
}

TEST_CASE("a static pod is known by the hash that its kubelet tells it as UID") {
  const std::string hash = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
  json pod = MirrorPod();
  CHECK(JudgeJson(Filter(), pod).record.uid == hash);  // the handshake expects what it will say
  PodFilter filter = Filter();
  filter.self.uid = hash;
  CHECK(JudgeJson(filter, pod).verdict == Verdict::kSelf);

  pod["metadata"]["annotations"]["kubernetes.io/config.hash"] = "a b";
  CHECK_FALSE(Rules(filter).Judge(PodOf(pod)).ok());
  // The hash alone says nothing: anybody may have copied it from somewhere.
  pod = MirrorPod();
  pod["metadata"]["annotations"].erase("kubernetes.io/config.mirror");
  CHECK(JudgeJson(filter, pod).record.uid == "u-1");
  pod = MirrorPod();
  pod["metadata"]["annotations"].erase("kubernetes.io/config.hash");
  CHECK(JudgeJson(filter, pod).record.uid == "u-1");
  pod["metadata"]["annotations"] = nullptr;
  CHECK(JudgeJson(filter, pod).record.uid == "u-1");
}

TEST_CASE("an empty namespace is a good answer without us") {
  const PeerSet set = SetOf(Filter(), {});
  CHECK(set.peers.empty());
  CHECK_FALSE(set.self_listed);
  CHECK(set.where == "/registry/pods/default");
}

TEST_CASE("oldest first, unknown starts last, equal ones by UID") {
  json unknown = Named("relay-5", "u-5", "10.0.0.5", "2024-03-01T10:00:00Z");
  unknown["status"]["containerStatuses"][1]["state"]["running"] = json::object();
  const PeerSet set =
      SetOf(Filter(), {unknown, Named("relay-3", "u-3", "10.0.0.3", "2024-03-01T10:00:02Z"),
                       Named("relay-2", "u-2", "10.0.0.2", "2024-03-01T10:00:02Z"),
                       Named("relay-4", "u-4", "10.0.0.4", "2024-03-01T10:00:01.5Z")});
  std::vector<std::string> names;
  for (const PodRecord& peer : set.peers) names.push_back(peer.name);
  CHECK(names == std::vector<std::string>{"relay-4", "relay-2", "relay-3", "relay-5"});
}

TEST_CASE("of records with one address or UID the one started last stays") {
  PeerSet set = SetOf(Filter(), {Named("relay-1", "u-1", "10.0.0.1", "2024-03-01T10:00:05Z"),
                                 Named("relay-2", "u-2", "10.0.0.1", "2024-03-01T11:00:05Z")});
  REQUIRE(set.peers.size() == 1);
  CHECK(set.peers[0].name == "relay-2");
  set = SetOf(Filter(), {Named("relay-1", "u-1", "10.0.0.1", "2024-03-01T12:00:05Z"),
                         Named("relay-2", "u-1", "10.0.0.2", "2024-03-01T11:00:05Z")});
  REQUIRE(set.peers.size() == 1);
  CHECK(set.peers[0].name == "relay-1");
}

TEST_CASE("a pod that terminates is no peer, and is told while its daemon runs") {
  const auto terminating = [](json pod) {
    pod["metadata"]["deletionTimestamp"] = "2034-03-01T10:00:07Z";
    return pod;
  };
  const json peer = Named("relay-1", "u-1", "10.0.0.1", "2024-03-01T10:00:05Z");
  const json old = terminating(Named("relay-2", "u-2", "10.0.0.2", "2024-03-01T09:00:05Z"));
  const json oldest = terminating(Named("relay-3", "u-3", "10.0.0.3", "2024-03-01T08:00:05Z"));
  PeerSet set = SetOf(Filter(), {old, peer, oldest});
  REQUIRE(set.peers.size() == 1);
  CHECK(set.peers[0].name == "relay-1");
  REQUIRE(set.terminating.size() == 2);
  CHECK(set.terminating[0].name == "relay-3");
  CHECK(set.terminating[1].ip == "10.0.0.2");

  SECTION("not when its container has ended") {
    json ended = old;
    ended["status"]["containerStatuses"][1]["state"] = {{"terminated", {{"exitCode", 0}}}};
    CHECK(SetOf(Filter(), {ended}).terminating.empty());
    ended = old;
    ended["status"]["phase"] = "Succeeded";
    CHECK(SetOf(Filter(), {ended}).terminating.empty());
  }
  SECTION("not where a peer is now, however old") {
    json moved = old;
    moved["status"]["podIP"] = "10.0.0.1";
    moved["status"]["containerStatuses"][1]["state"]["running"]["startedAt"] =
        "2024-03-01T11:00:05Z";
    set = SetOf(Filter(), {moved, peer});
    CHECK(set.peers.size() == 1);
    CHECK(set.terminating.empty());
  }
  SECTION("not where we are") {
    json ours = old;
    ours["status"]["podIP"] = Filter().self.ip;
    CHECK(SetOf(Filter(), {ours}).terminating.empty());
  }
}

TEST_CASE("a wrong filter is told by the setting that is wrong") {
  PodFilter filter = Filter();
  filter.service = "";
  CHECK(FilterError(filter).starts_with("service:"));
  filter.selector = "a in b";
  CHECK(FilterError(filter).starts_with("selector:"));
  filter = Filter();
  filter.selector = "a=b";
  CHECK(FilterError(filter).starts_with("selector:"));
  filter = Filter();
  filter.ns = "a/b";
  CHECK(FilterError(filter).starts_with("namespace:"));
  filter = Filter();
  filter.self.ip = "10.0.0";
  CHECK(FilterError(filter).starts_with("pod-ip:"));
}

TEST_CASE("label selectors") {
  struct Case {
    const char* selector;
    bool matches;
  };
  // On {app: relay, empty: "", track: stable}.
  const Case kCases[] = {
      {"", true},
      {"app=relay", true},
      {"app==relay", true},
      {"app=web", false},
      {"app!=web", true},
      {"app!=relay", false},
      {"none!=relay", true},
      {"app", true},
      {"none", false},
      {"!none", true},
      {"! none", true},
      {"!app", false},
      {"app in (relay,web)", true},
      {"app in (web)", false},
      {"none in (web)", false},
      {"app notin (relay)", false},
      {"app notin (web, other)", true},
      {"none notin (web)", true},
      {"empty=", true},
      {"empty", true},
      {"app=", false},
      {" app = relay , track in ( stable , canary ) , !none ", true},
      {"app=relay,track=canary", false},
      {"in=x", false},
      {"app.kubernetes.io/name=x", false},
  };
  const std::vector<std::pair<std::string, std::string>> labels = {
      {"app", "relay"}, {"empty", ""}, {"track", "stable"}};
  for (const Case& wanted : kCases) {
    INFO(wanted.selector);
    const Result<Selector> selector = Selector::Parse(wanted.selector);
    REQUIRE(selector.ok());
    CHECK(selector->Matches(labels) == wanted.matches);
  }
  for (const char* bad : {",", "a,", ",a", "a b", "a=b c", "=b", "!", "!a=b", "a in", "a in b",
                          "a in (b", "a notin b)", "a>1", "a=\"b\"", "a=b,,c", "a=(b)"}) {
    INFO(bad);
    const Result<Selector> selector = Selector::Parse(bad);
    REQUIRE_FALSE(selector.ok());
    CHECK(selector.status().message().starts_with("selector: "));
  }
}

}  // namespace
}  // namespace podmirror::discovery
