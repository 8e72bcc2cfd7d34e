// Access to tests/fixtures for the discovery tests.
#pragma once

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

namespace podmirror::discovery {

// From any thread, where Catch's assertions may not be used.
inline std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error(path + " cannot be read");
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

inline std::string Fixture(const std::string& name) {
  return ReadFile(std::string(PODMIRROR_FIXTURES) + "/" + name);
}

inline std::string StoredPod(const std::string& name) {
  return Fixture("kube-apiserver-1.20.2/etcd/" + name + ".etcdvalue");
}

// A running pod as JSON, to be changed by each test.
inline nlohmann::json RunningPod() {
  return nlohmann::json::parse(R"({
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "relay-1", "namespace": "default", "uid": "u-1",
                 "labels": {"app": "relay", "track": "stable"}},
    "spec": {"containers": [{"name": "relay"}, {"name": "logger"}]},
    "status": {
      "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
      "startTime": "2024-03-01T10:00:00Z",
      "conditions": [{"type": "Ready", "status": "True"}],
      "containerStatuses": [
        {"name": "logger", "ready": true,
         "state": {"running": {"startedAt": "2024-03-01T10:00:01Z"}}},
        {"name": "relay", "ready": true,
         "state": {"running": {"startedAt": "2024-03-01T10:00:05Z"}}}]}
  })");
}

}  // namespace podmirror::discovery
