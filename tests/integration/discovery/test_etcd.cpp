#include "test_etcd.h"

#include <absl/strings/escaping.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <httplib.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "integration/eventually.h"

namespace podmirror::discovery {
namespace {

using nlohmann::json;

bool IsPlain(const EtcdConfig& config) { return !config.tls && config.host == "127.0.0.1"; }

}  // namespace

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  socklen_t size = sizeof(address);
  REQUIRE(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  close(fd);
  return ntohs(address.sin_port);
}

pid_t Spawn(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int null = open("/dev/null", O_RDWR);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    if (getppid() == parent) execvp(argv[0], argv.data());
    _exit(127);
  }
  return pid;
}

bool HasIpv6() {
  const int fd = socket(AF_INET6, SOCK_STREAM, 0);
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  const bool has = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  close(fd);
  return has;
}

TestEtcd::TestEtcd() : TestEtcd(FreePort()) { Start(); }

TestEtcd::TestEtcd(int port) : TestEtcd(EtcdConfig{.port = port}) {}

TestEtcd::TestEtcd(EtcdConfig config)
    : config_(std::move(config)), admin_port_(IsPlain(config_) ? config_.port : FreePort()) {
  std::string pattern = std::filesystem::temp_directory_path() / "podmirror-etcd-XXXXXX";
  REQUIRE(mkdtemp(pattern.data()) != nullptr);
  dir_ = pattern;
}

TestEtcd::~TestEtcd() {
  Kill();
  std::filesystem::remove_all(dir_);
}

void TestEtcd::Start() {
  Launch();
  AwaitHealth();
}

void TestEtcd::Launch() {
  const std::string admin = "http://127.0.0.1:" + std::to_string(admin_port_);
  const std::string peer =
      "http://127.0.0.1:" + std::to_string(config_.peer_port != 0 ? config_.peer_port : 1);
  const std::string cluster =
      config_.initial_cluster.empty() ? config_.name + "=" + peer : config_.initial_cluster;
  std::vector<std::string> words = {
      "etcd",
      "--name=" + config_.name,
      "--data-dir=" + dir_ + "/data",
      "--listen-client-urls=" + url() + (IsPlain(config_) ? "" : "," + admin),
      "--advertise-client-urls=" + url(),
      "--listen-peer-urls=http://127.0.0.1:" + std::to_string(config_.peer_port),
      "--initial-advertise-peer-urls=" + peer,
      "--initial-cluster=" + cluster,
      "--initial-cluster-token=" + config_.token,
      "--enable-v2",
      "--heartbeat-interval=20",
      "--election-timeout=200",
      "--log-level=error"};
  words.insert(words.end(), config_.flags.begin(), config_.flags.end());
  pid_ = Spawn(std::move(words));
  // A new connection: the one to the last run may not know yet that it is dead.
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  kv_ = etcdserverpb::KV::NewStub(grpc::CreateCustomChannel(
      "127.0.0.1:" + std::to_string(admin_port_), grpc::InsecureChannelCredentials(), args));
}

void TestEtcd::AwaitHealth() {
  httplib::Client client("127.0.0.1", admin_port_);
  REQUIRE(Eventually([&] {
    REQUIRE(waitpid(pid_, nullptr, WNOHANG) == 0);
    const httplib::Result health = client.Get("/health");
    return health && health->body == R"({"health":"true"})";
  }));
}

void TestEtcd::Kill() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void TestEtcd::Wipe() {
  REQUIRE(pid_ < 0);
  std::filesystem::remove_all(dir_);
}

void TestEtcd::Pause() {
  REQUIRE(pid_ > 0);
  kill(pid_, SIGSTOP);
}

void TestEtcd::Resume() {
  REQUIRE(pid_ > 0);
  kill(pid_, SIGCONT);
}

void TestEtcd::SaveData(const std::string& dir) const {
  REQUIRE(pid_ < 0);
  std::filesystem::copy(dir_ + "/data", dir, std::filesystem::copy_options::recursive);
}

void TestEtcd::RestoreData(const std::string& dir) {
  REQUIRE(pid_ < 0);
  std::filesystem::remove_all(dir_ + "/data");
  std::filesystem::copy(dir, dir_ + "/data", std::filesystem::copy_options::recursive);
}

void TestEtcd::EraseData(const std::string& new_token) {
  REQUIRE(pid_ < 0);
  std::filesystem::remove_all(dir_ + "/data");
  config_.token = new_token;
}

std::string TestEtcd::url() const {
  return (config_.tls ? "https://" : "http://") + config_.host + ":" + std::to_string(config_.port);
}

EtcdOptions TestEtcd::options() const {
  EtcdOptions options;
  options.endpoints = {url()};
  return options;
}

void TestEtcd::Prepare(grpc::ClientContext& context) const {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  context.set_wait_for_ready(true);
  if (!token_.empty()) context.AddMetadata("token", token_);
}

void TestEtcd::Login(const std::string& user, const std::string& password) {
  token_.clear();
  token_ = nlohmann::json::parse(
      Gateway("/auth/authenticate",
              nlohmann::json{{"name", user}, {"password", password}}.dump()))["token"];
}

std::string TestEtcd::TryPut(const std::string& key, const std::string& value,
                             std::int64_t* revision) {
  grpc::ClientContext context;
  Prepare(context);
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  etcdserverpb::PutResponse response;
  const grpc::Status status = kv_->Put(&context, request, &response);
  if (revision != nullptr) *revision = response.header().revision();
  return status.error_message();
}

std::int64_t TestEtcd::Put(const std::string& key, const std::string& value) {
  std::int64_t revision = 0;
  REQUIRE(TryPut(key, value, &revision).empty());
  return revision;
}

std::int64_t TestEtcd::Delete(const std::string& key) {
  grpc::ClientContext context;
  Prepare(context);
  etcdserverpb::DeleteRangeRequest request;
  request.set_key(key);
  etcdserverpb::DeleteRangeResponse response;
  REQUIRE(kv_->DeleteRange(&context, request, &response).ok());
  REQUIRE(response.deleted() == 1);
  return response.header().revision();
}

void TestEtcd::Compact(std::int64_t revision) {
  grpc::ClientContext context;
  Prepare(context);
  etcdserverpb::CompactionRequest request;
  request.set_revision(revision);
  request.set_physical(true);
  etcdserverpb::CompactionResponse response;
  REQUIRE(kv_->Compact(&context, request, &response).ok());
}

std::string TestEtcd::Gateway(const std::string& path, const std::string& json) {
  httplib::Client client("127.0.0.1", admin_port_);
  httplib::Headers headers;
  if (!token_.empty()) headers.emplace("Authorization", token_);
  const httplib::Result result = client.Post("/v3" + path, headers, json, "application/json");
  REQUIRE(result);
  INFO(path << ": " << result->body);
  REQUIRE(result->status == 200);
  return result->body;
}

void TestEtcd::V2Put(const std::string& key, const std::string& value) {
  httplib::Client client("127.0.0.1", admin_port_);
  const httplib::Result result = client.Put("/v2/keys" + key, httplib::Params{{"value", value}});
  REQUIRE(result);
  REQUIRE((result->status == 200 || result->status == 201));
}

void TestEtcd::V2Delete(const std::string& key, bool recursive) {
  httplib::Client client("127.0.0.1", admin_port_);
  const httplib::Result result =
      client.Delete("/v2/keys" + key + (recursive ? "?recursive=true" : ""));
  REQUIRE(result);
  REQUIRE(result->status == 200);
}

std::string PodJson(int number) {
  const std::string n = std::to_string(number);
  const std::string ip = "10." + std::to_string(number / 65536) + "." +
                         std::to_string(number / 256 % 256) + "." + std::to_string(number % 256);
  return R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"relay-)" + n +
         R"(","namespace":"default","uid":"u-)" + n +
         R"("},"spec":{"containers":[{"name":"relay"}]},"status":{"phase":"Running","podIP":")" +
         ip +
         R"(","containerStatuses":[{"name":"relay","state":{"running":)"
         R"({"startedAt":"2024-03-01T10:00:05Z"}}}]}})";
}

std::string Key(int number) { return "/registry/pods/default/relay-" + std::to_string(number); }

void GrantRole(TestEtcd& etcd, const std::string& role, const std::string& permission,
               const std::string& from, const std::string& to) {
  etcd.Gateway("/auth/role/add", json{{"name", role}}.dump());
  etcd.Gateway("/auth/role/grant", json{{"name", role},
                                        {"perm",
                                         {{"permType", permission},
                                          {"key", absl::Base64Escape(from)},
                                          {"range_end", absl::Base64Escape(to)}}}}
                                       .dump());
}

void AddUser(TestEtcd& etcd, const std::string& name, const std::string& password,
             const std::string& role) {
  etcd.Gateway("/auth/user/add", json{{"name", name}, {"password", password}}.dump());
  etcd.Gateway("/auth/user/grant", json{{"user", name}, {"role", role}}.dump());
}

void EnableAuth(TestEtcd& etcd) {
  AddUser(etcd, "root", "r", "root");
  etcd.Gateway("/auth/enable", "{}");
}

}  // namespace podmirror::discovery
