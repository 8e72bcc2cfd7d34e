// Access to tests/fixtures for the discovery tests.
#pragma once

#include <catch2/catch.hpp>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "fixture_path.h"

namespace podmirror::discovery {

// From any thread, where Catch's assertions may not be used.
inline std::string ReadFile(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error(path + " cannot be read");
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

inline std::string Fixture(const std::string& name) { return ReadFile(FixturePath(name)); }

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

// A pod whose daemon "relay" is a sidecar that runs and is ready, while the application is still
// being started: what a kubelet of Kubernetes 1.29 and newer writes. A plain init container has
// run before it.
inline nlohmann::json SidecarPod() {
  return nlohmann::json::parse(R"({
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {"name": "relay-1", "namespace": "default", "uid": "u-1",
                 "labels": {"app": "relay"}},
    "spec": {"containers": [{"name": "app"}],
             "initContainers": [{"name": "prepare"},
                                {"name": "relay", "restartPolicy": "Always"}]},
    "status": {
      "phase": "Pending", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
      "startTime": "2024-03-01T10:00:00Z",
      "conditions": [{"type": "PodReadyToStartContainers", "status": "True"},
                     {"type": "Initialized", "status": "False"},
                     {"type": "Ready", "status": "False"},
                     {"type": "ContainersReady", "status": "False"},
                     {"type": "PodScheduled", "status": "True"}],
      "initContainerStatuses": [
        {"name": "prepare", "ready": true, "started": false,
         "state": {"terminated": {"exitCode": 0, "startedAt": "2024-03-01T10:00:01Z"}}},
        {"name": "relay", "ready": true, "started": true,
         "state": {"running": {"startedAt": "2024-03-01T10:00:05Z"}}}],
      "containerStatuses": [
        {"name": "app", "ready": false, "started": false,
         "state": {"waiting": {"reason": "PodInitializing"}}}]}
  })");
}

// The mirror of a running static pod: annotations as a kubelet writes them, and a UID that only the
// API knows.
inline nlohmann::json MirrorPod() {
  nlohmann::json pod = RunningPod();
  pod["metadata"]["annotations"] = {
      {"kubernetes.io/config.hash", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"},
      {"kubernetes.io/config.mirror", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"},
      {"kubernetes.io/config.seen", "2024-03-01T09:59:58.123456789Z"},
      {"kubernetes.io/config.source", "file"}};
  return pod;
}

}  // namespace podmirror::discovery
