#!/usr/bin/python3
"""What the daemon makes of pod records in a real etcd, and of trouble with it."""

import json
import urllib.parse

import harness
import pods
from harness import FIXTURES, equal, test, wait_for


def put_v2(etcd, key, value):
    status, body = etcd.request("PUT", "/v2/keys" + key, urllib.parse.urlencode({"value": value}),
                                {"Content-Type": "application/x-www-form-urlencoded"})
    assert status in (200, 201), body


def check_unready_in_time(node):
    """Peers that nobody can reach must not make the daemon ready, nor hang what it says."""
    equal(node.get("/healthz", timeout=1).status, 200)
    equal(node.get("/readyz", timeout=1).status, 503)


@test
def finds_the_pod_of_2017_in_etcd_v2(cluster):
    cluster.etcd.start("--enable-v2")
    answer = json.loads((FIXTURES / "etcd-v2-2017/registry-pods-default.json").read_text())
    for record in answer["node"]["nodes"]:
        put_v2(cluster.etcd, record["key"], record["value"])
    node = cluster.node(name="hello-web-self")
    put_v2(cluster.etcd, pods.key_of(node.record), pods.encode(node.record).decode())
    node.start("--discovery=etcd-v2", "--service=hello-web")

    peer = wait_for(lambda: node.peer("hello-web-29a74e26ea3c2138e1727f35a111f4c6-dknwh"), 10,
                    "the pod of 2017 among the peers")
    equal(peer["ip"], "172.80.13.4")
    equal(peer["uid"], "09c45029-3fa0-11e7-a46c-00163e327954")
    equal(peer["started_at"], "2017-05-23T10:10:29Z")
    equal((peer["phase"], peer["ready"]), ("Running", True))
    equal([peer["name"] for peer in node.peers() if "hello-web" not in peer["name"]], [])
    check_unready_in_time(node)

    # The long poll sees a change, and a deletion.
    other = pods.new_record("hello-web-other", "127.200.0.1")
    put_v2(cluster.etcd, pods.key_of(other), pods.encode(other).decode())
    wait_for(lambda: node.peer("hello-web-other"), 2, "a record written later")
    cluster.etcd.request("DELETE", "/v2/keys" + pods.key_of(other))
    wait_for(lambda: node.peer("hello-web-other") is None, 2, "a deleted record gone")


def load_apiserver_records(etcd):
    """Puts every captured record under its own key; returns {pod name: what it says}."""
    folder = FIXTURES / "kube-apiserver-1.20.2/etcd"
    for entry in json.loads((folder / "index.json").read_text())["kvs"]:
        etcd.put(entry["key"], (folder / entry["file"]).read_bytes())
    expected = json.loads((FIXTURES / "expected.json").read_text())
    prefix = "kube-apiserver-1.20.2/etcd/"
    return {name.removeprefix(prefix).removesuffix(".etcdvalue"): fields
            for name, fields in expected.items() if name.startswith(prefix)}


def check_fields(peer, fields, container):
    equal(peer["uid"], fields["uid"], peer["name"])
    equal(peer["ip"], fields["podIP"], peer["name"])
    equal(peer["phase"], fields["phase"], peer["name"])
    equal(peer["ready"], fields["Ready"] == "True", peer["name"])
    started = [status["runningStartedAt"] for status in fields["containers"]
               if status["name"] == container]
    equal([peer["started_at"]], started, peer["name"])


@test
def records_of_a_real_apiserver_follow_the_rules(cluster):
    cluster.etcd.start()
    expected = load_apiserver_records(cluster.etcd)
    node = cluster.node(name="zz-self", namespace="peers")
    node.record["spec"]["containers"][0]["name"] = "relay"
    node.record["status"]["containerStatuses"][0]["name"] = "relay"
    node.record["metadata"]["labels"] = {"app": "relay"}
    node.write_record()
    node.start("--service=", "--selector=app=relay", "--container=relay")

    # Running, with an address and a running container, not terminating; Ready does not matter.
    # Equal starting times are ordered by UID.
    names = ["c-running-ready", "d-running-notready", "f-two-containers-one-terminated",
             "k-dualstack", "l-ipv6-only", "m-hostnetwork", "o-readiness-gate-false",
             "p-canary-label"]
    names.sort(key=lambda name: (name.startswith("f-"), expected[name]["uid"]))
    wait_for(lambda: len(node.peers()) == len(names), 10, f"{len(names)} peers")
    peers = node.peers()
    equal([peer["name"] for peer in peers], names)
    for peer in peers:
        check_fields(peer, expected[peer["name"]], "relay")
    ipv6 = node.peer("l-ipv6-only")
    equal(ipv6["address"], f"[{ipv6['ip']}]:{harness.GRPC_PORT}")
    check_unready_in_time(node)


@test
def records_that_cannot_be_read_are_named(cluster):
    cluster.etcd.start()
    expected = load_apiserver_records(cluster.etcd)
    cluster.etcd.put("/registry/pods/peers-two/garbage", b"{\"kind\": \"Pod\", ")
    cluster.etcd.put("/registry/pods/peers-two/other-kind", b"k8s\0\xff\xff\xff")
    # Read as octal it would be the address of somebody else.
    octal = pods.new_record("octal-nolabel", "0177.0.0.1", "peers-two")
    cluster.etcd.put_record(octal)
    node = cluster.node(name="nolabel-self", namespace="peers-two")
    node.write_record()
    node.start("--service=nolabel")

    wait_for(lambda: len(node.peers()) == 2, 10, "two peers")
    peers = node.peers()
    for peer, name in zip(peers, sorted(("nolabel-0", "nolabel-1"),
                                        key=lambda name: expected[name]["uid"])):
        equal(peer["name"], name)
        check_fields(peer, expected[name], "relay")
    for name in ("stored-aescbc", "stored-aesgcm", "stored-secretbox", "garbage", "other-kind",
                 "octal-nolabel"):
        key = f"/registry/pods/peers-two/{name}"
        lines = [line for line in node.log() if key in json.dumps(line)]
        equal(len(lines), 1, f"log lines naming {key}")
    equal(node.metric('podmirror_discovery_events_total{type="unreadable"}'), 6)
    equal(node.status()["discovery"]["healthy"], True)
    check_unready_in_time(node)


@test
def wrong_namespace_is_said(cluster):
    cluster.etcd.start()
    node = cluster.node()
    node.write_record()
    node.start("--namespace=elsewhere")
    reason = node.wait_not_ready_because("own pod not found")
    assert "/registry/pods/elsewhere" in reason, reason
    equal(node.put(1, "k", b"v").code, "not-ready")
    equal(node.get(harness.entry_path(1, "k")).code, "not-ready")
    assert "own pod not found" in node.status()["reason"]


@test
def unreachable_ready_peer_holds_up_the_start(cluster):
    cluster.etcd.start()
    absent = pods.new_record("podmirror-absent", "127.9.9.9", started_at=pods.now(60))
    pods.set_ready(absent, True)
    cluster.etcd.put_record(absent)
    node = cluster.node()
    node.write_record()
    node.start("--bootstrap-timeout=1s")
    node.wait_not_ready_because("podmirror-absent")
    wait_for(lambda: node.status()["uptime_ms"] > 3000, 10, "three times bootstrap-timeout")
    node.wait_not_ready_because("podmirror-absent")

    # Its record no longer says Ready: it does not hold up the start any longer.
    pods.set_ready(absent, False)
    cluster.etcd.put_record(absent)
    node.wait_ready()


@test
def bootstrap_alone_starts_without(cluster):
    cluster.etcd.start()
    absent = pods.new_record("podmirror-absent", "127.9.9.9", started_at=pods.now(60))
    pods.set_ready(absent, True)
    cluster.etcd.put_record(absent)
    node = cluster.node()
    node.write_record()
    node.start("--bootstrap-timeout=1s", "--bootstrap-alone")
    node.wait_ready()
    equal(node.put(1, "k", b"v").status, 202)
    equal(node.value(1, "k"), b"v")


@test
def etcd_comes_later(cluster):
    node = cluster.node()
    node.start()
    reason = node.wait_not_ready_because("etcd")
    discovery = node.status()["discovery"]
    equal(discovery["healthy"], False)
    assert discovery["error"], discovery
    assert node.events("discovery_error"), reason
    cluster.etcd.start()
    node.write_record()
    node.wait_ready()
    equal(node.put(1, "k", b"v").status, 200)
    equal(node.status()["discovery"]["healthy"], True)


@test
def etcd_dies_later(cluster):
    one, two, three = cluster.start(3)
    cluster.etcd.kill()
    wait_for(lambda: not one.status()["discovery"]["healthy"], 15, "discovery not healthy")
    equal(one.metric("podmirror_discovery_healthy"), 0)
    equal(one.get("/readyz").status, 200)
    answer = one.put(1, "k", b"v")
    equal((answer.status, answer.json()["ack"]["acked"]), (200, 2))
    equal([node.value(1, "k") for node in (one, two, three)], [b"v"] * 3)
    age = one.status()["discovery"]["age_ms"]
    wait_for(lambda: one.status()["discovery"]["age_ms"] > age, 5, "the age grows")

    # Back again: a new record is found, though the new etcd knows nothing of the old watch.
    cluster.etcd.start()
    wait_for(lambda: one.status()["discovery"]["healthy"], 40, "discovery healthy again")
    four = cluster.node()
    four.write_record()
    four.start()
    four.wait_ready()
    wait_for(lambda: one.peer(four.name), 5, "the new node among the peers")


def check_says_unlisted(node, times):
    """It stays ready, and says so wherever one would look. The set that it knew stays."""
    def said():
        answer = node.get("/readyz")
        equal(answer.status, 200)
        return b"own pod not found under /registry/pods/default" in answer.body
    wait_for(said, 5, "/readyz says that the own pod is not found")
    discovery = node.status()["discovery"]
    equal((discovery["healthy"], discovery["peers"]), (False, 1))
    assert "own pod not found" in discovery["error"], discovery
    equal(node.metric("podmirror_discovery_self_listed"), 0)
    equal(node.metric("podmirror_discovery_healthy"), 0)
    equal(len(node.events("self_unlisted")), times)
    equal(len(node.peers()), 1)
    equal(node.put(1, "k", b"v").json()["ack"]["acked"], 1)


def check_listed(node):
    wait_for(lambda: node.status()["discovery"]["healthy"], 5, "listed again")
    equal(node.get("/readyz").body, b"ready\n")
    equal(node.metric("podmirror_discovery_self_listed"), 1)


@test
def own_record_lost_while_running_is_said(cluster):
    one, _ = cluster.start(2, "--service=", "--selector=app=podmirror", "--cluster=test")
    check_listed(one)
    labels = one.record["metadata"]["labels"]
    one.record["metadata"]["labels"] = {"app": "something-else"}
    one.write_record()
    check_says_unlisted(one, 1)
    one.record["metadata"]["labels"] = labels
    one.write_record()
    check_listed(one)

    one.delete_record()
    check_says_unlisted(one, 2)
    one.write_record()
    check_listed(one)


if __name__ == "__main__":
    harness.main()
