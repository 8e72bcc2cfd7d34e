// A real etcd on a loopback port of its own, with v2 API, and pods to put into it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "discovery/peer_source.h"
#include "etcd/rpc.grpc.pb.h"

namespace podmirror::discovery {

// A port that nothing listens on now.
int FreePort();

// A child that is silent, and dies when we do.
pid_t Spawn(std::vector<std::string> words);

// Whether ::1 can be listened on.
bool HasIpv6();

// How an etcd differs from that of most tests.
struct EtcdConfig {
  int port = FreePort();           // of url()
  std::string host = "127.0.0.1";  // of url(), IPv6 in brackets
  bool tls = false;                // url() is https; `flags` say with which certificates
  std::vector<std::string> flags = {};
  std::string token = "t";  // another one makes another cluster
  // A member of several: the same `initial_cluster` for all, "a=http://127.0.0.1:1,b=...".
  std::string name = "t";
  int peer_port = 0;
  std::string initial_cluster = {};
};

class TestEtcd {
 public:
  // Started and answering.
  TestEtcd();
  // Not started.
  explicit TestEtcd(int port);
  explicit TestEtcd(EtcdConfig config);
  ~TestEtcd();

  void Start();
  // The two halves of Start, for members that only answer together.
  void Launch();
  void AwaitHealth();
  // kill -9; the data stay.
  void Kill();
  void Wipe();   // the data are gone; requires: not running
  void Pause();  // SIGSTOP
  void Resume();

  // While it does not run: the data as they are now, to another place and back; or no data.
  void SaveData(const std::string& dir) const;
  void RestoreData(const std::string& dir);
  void EraseData(const std::string& new_token);

  // Where a source is to find it.
  std::string url() const;
  int port() const { return config_.port; }
  EtcdOptions options() const;

  // As this user from now on; after `etcd --auth-token-ttl` or a new start the token is no good.
  void Login(const std::string& user, const std::string& password);
  std::int64_t Put(const std::string& key, const std::string& value);
  // The error, empty when it went well; from any thread, where Put may not be used.
  std::string TryPut(const std::string& key, const std::string& value,
                     std::int64_t* revision = nullptr);
  std::int64_t Delete(const std::string& key);
  void Compact(std::int64_t revision);

  // POST to the HTTP gateway of the v3 API; returns the body.
  std::string Gateway(const std::string& path, const std::string& json);
  void V2Put(const std::string& key, const std::string& value);
  void V2Delete(const std::string& key, bool recursive);

  // A plain port that the tests themselves use, whatever url() is.
  int admin_port() const { return admin_port_; }

 private:
  void Prepare(grpc::ClientContext& context) const;

  EtcdConfig config_;
  const int admin_port_;
  std::string dir_;
  std::string token_;
  pid_t pid_ = -1;
  std::unique_ptr<etcdserverpb::KV::Stub> kv_;
};

// The record of a running pod relay-<number>, UID u-<number>, in namespace default, and its key.
std::string PodJson(int number);
std::string Key(int number);

// A role that may do `permission` (READ, READWRITE) to what lies in [from, to), and a user who has
// that role alone.
void GrantRole(TestEtcd& etcd, const std::string& role, const std::string& permission,
               const std::string& from, const std::string& to);
void AddUser(TestEtcd& etcd, const std::string& name, const std::string& password,
             const std::string& role);
// Users count from now on; root, with password r, may do everything.
void EnableAuth(TestEtcd& etcd);

// Both APIs, for what has to hold of both.
struct Api {
  using NewSource = Result<std::unique_ptr<PeerSource>> (*)(EtcdOptions, PodFilter,
                                                            telemetry::Metrics&, Env&);
  const char* name;
  NewSource source;
  void (*put)(TestEtcd&, int number);
};
inline constexpr Api kApis[] = {
    {"v3", NewEtcdV3Source, [](TestEtcd& etcd, int n) { etcd.Put(Key(n), PodJson(n)); }},
    {"v2", NewEtcdV2Source, [](TestEtcd& etcd, int n) { etcd.V2Put(Key(n), PodJson(n)); }},
};

}  // namespace podmirror::discovery
