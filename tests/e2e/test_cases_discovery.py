#!/usr/bin/python3
"""Case 09: stale records and broken discovery, on whole daemons. What becomes of records that
cannot be read, of a wrong namespace, and of an etcd that is down is in test_discovery.py."""

import base64
import json
import shutil
import subprocess

import bridge
import pods
from harness import ETCD_PEER_PORT, equal, test, wait_for
from history import Recorder

NEVER_REACHED = "60s"       # a bootstrap-timeout that no test waits for


def b64(text):
    return base64.b64encode(text.encode()).decode()


class Admin:
    """What an operator does to etcd."""

    def __init__(self, etcd):
        self.etcd, self.token = etcd, None

    def call(self, path, **message):
        headers = {"Authorization": self.token} if self.token else {}
        status, body = self.etcd.request("POST", f"/v3/{path}", json.dumps(message), headers)
        assert status == 200, f"etcd {path}: {status} {body}"
        return json.loads(body)

    def enable_auth(self, **users):
        for name, password in {"root": "root", **users}.items():
            self.call("auth/user/add", name=name, password=password)
        self.call("auth/role/add", name="root")
        self.call("auth/user/grant", user="root", role="root")
        self.call("auth/enable")
        self.token = self.call("auth/authenticate", name="root", password="root")["token"]

    def allow_reading(self, user, prefix):
        self.call("auth/role/add", name="reader")
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        self.call("auth/role/grant", name="reader",
                  perm={"permType": "READ", "key": b64(prefix), "range_end": b64(end)})
        self.call("auth/user/grant", user=user, role="reader")


def run_etcdctl(etcd, *command):
    subprocess.run(["etcdctl", "--endpoints", etcd.url, *command], check=True, timeout=30,
                   capture_output=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"})


@test
def case_09_forbidden_is_said(cluster):
    """etcd lets nobody read: not ready, and it says why. Allowed later, it goes on by itself."""
    cluster.etcd.start()
    node = cluster.node()
    node.write_record()
    admin = Admin(cluster.etcd)
    admin.enable_auth(mirror="secret")
    password = cluster.directory / "password"
    password.write_text("secret\n")
    node.start("--etcd-user=mirror", f"--etcd-password-file={password}")
    node.wait_not_ready_because("permission denied")
    equal(node.get("/healthz").status, 200)
    equal(node.metric("podmirror_discovery_healthy"), 0)
    assert "permission denied" in node.status()["discovery"]["error"], node.status()
    assert node.events("discovery_error"), "nothing in the log"
    equal(node.events("bootstrap_done"), [], "started alone")
    admin.allow_reading("mirror", "/registry/pods/")
    wait_for(lambda: node.get("/readyz").status == 200, 30, "ready once it may read")
    equal(node.status()["discovery"]["healthy"], True)


@test
def case_09_compacted_and_restored_history(cluster):
    """A pod is cut off from etcd while the history that it would need is compacted; later etcd is
    restored from a backup and its revision goes back. New pods are found each time, and living
    ones never lost."""
    one, two = cluster.start(2)
    recorder = Recorder(cluster)
    recorder.load(one, 500)
    backup = cluster.directory / "backup"
    run_etcdctl(cluster.etcd, "snapshot", "save", str(backup))

    cluster.cut([one], [cluster.etcd])
    three = cluster.node()
    three.write_record()
    for number in range(200):
        cluster.etcd.put("/registry/pods/default/elsewhere", str(number).encode())
    admin = Admin(cluster.etcd)
    revision = int(admin.call("kv/range", key=b64("x"))["header"]["revision"])
    admin.call("kv/compaction", revision=str(revision), physical=True)
    cluster.heal()
    three.start()
    recorder.wait_ready(three, 60)
    wait_for(lambda: one.peer(three.name), 40, "found after the compaction")

    cluster.etcd.kill()
    data = cluster.directory / "etcd"
    shutil.rmtree(data)
    url = f"http://{cluster.etcd.address}:{ETCD_PEER_PORT}"
    run_etcdctl(cluster.etcd, "snapshot", "restore", str(backup), "--data-dir", str(data),
                "--name", "local", "--initial-cluster", f"local={url}",
                "--initial-advertise-peer-urls", url)
    cluster.etcd.start()
    # The backup knows nothing of the third pod; its kubelet writes again what it knows.
    three.write_record()
    four = cluster.node()
    four.write_record()
    four.start()
    recorder.wait_ready(four, 60)
    nodes = [one, two, three, four]
    cluster.wait_streaming(nodes, 40)
    equal(recorder.put(one, 1, "to-all", b"v").json()["ack"]["acked"], 3)
    equal(recorder.check(nodes)["entries"], 501)
    for node in (one, two):
        gone = {event["peer"] for event in node.events("peer_removed")} - {three.name}
        equal(gone, set(), f"living peers removed at {node.name}")
        assert node.status()["discovery"]["revision"] < revision, node.status()["discovery"]


@test
def case_09_ipv6_only_pods(cluster):
    cluster.etcd.start()
    recorder = Recorder(cluster)
    nodes = [cluster.node() for _ in range(3)]
    for node in nodes:
        node.ip = cluster.address6(node.number)
        node.record["status"].update(podIP=node.ip, podIPs=[{"ip": node.ip}])
        node.write_record()
    for node in nodes:
        node.start("--rest-listen=[::]:8080", "--grpc-listen=[::]:7070")
    for node in nodes:
        recorder.wait_ready(node)
    cluster.wait_streaming(nodes)
    equal({peer["address"] for peer in nodes[0].peers()},
          {f"[{node.ip}]:7070" for node in nodes[1:]})
    equal(recorder.put(nodes[0], 1, "k", b"v").json()["ack"]["acked"], 2)
    recorder.check(nodes)


def stale_records(cluster, living):
    """Pods that are no peers, at addresses where nobody answers but for the last."""
    def record(name, number, started_at=pods.now(3600)):
        made = pods.new_record(f"podmirror-{name}", f"{cluster.net}.{number}",
                               started_at=started_at)
        pods.set_ready(made, True)
        return made

    terminating = record("terminating", 201)
    terminating["metadata"]["deletionTimestamp"] = pods.now()
    without_address = record("without-address", 202)
    for field in ("podIP", "podIPs"):
        del without_address["status"][field]
    pending, succeeded = record("pending", 203), record("succeeded", 204)
    pending["status"]["phase"], succeeded["status"]["phase"] = "Pending", "Succeeded"
    crashing = record("crashing", 205)
    for made, reason in ((pending, "ContainerCreating"), (crashing, "CrashLoopBackOff")):
        made["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": reason}}
    heir = record("whose-address-was-given-away", living.number)
    return [terminating, without_address, pending, succeeded, crashing, heir]


@test
def case_09_stale_records_hold_up_nobody(cluster):
    """Records of pods that are gone or have not begun lie beside those of living ones: none of them
    is a peer, none holds up the start."""
    cluster.etcd.start()
    recorder = Recorder(cluster)
    nodes = [cluster.node() for _ in range(3)]
    for record in stale_records(cluster, nodes[1]):
        cluster.etcd.put_record(record)
    for node in nodes:
        node.write_record()
    for node in nodes:
        node.start(f"--bootstrap-timeout={NEVER_REACHED}")
    for node in nodes:
        recorder.wait_ready(node)
    cluster.wait_streaming(nodes)
    for node in nodes:
        equal({peer["name"] for peer in node.peers()},
              {other.name for other in nodes if other is not node}, f"peers of {node.name}")
        answer = recorder.put(node, 1, f"of-{node.name}", b"v")
        equal((answer.status, answer.json()["ack"]["acked"]), (200, 2))
    recorder.check(nodes)


@test
def case_09_hidden_peers_are_missed(cluster):
    """A network policy hides the old pods from the new one, which finds their records: it does not
    start alone, it says whom it misses, and without etcd it does not start alone either."""
    one, two = cluster.start(2)
    recorder = Recorder(cluster)
    recorder.load(one, 2000)
    three = cluster.node()
    three.write_record()
    cluster.cut([three], [one, two])
    three.start("--bootstrap-timeout=1s")
    reason = three.wait_not_ready_because(one.name)
    assert two.name in reason, reason
    wait_for(lambda: three.status()["uptime_ms"] > 4000, 10, "four times bootstrap-timeout")
    three.wait_not_ready_because(one.name)
    equal(three.put(1, "k", b"v").code, "not-ready")
    cluster.heal()
    recorder.wait_ready(three)

    four = cluster.node()
    four.write_record()
    cluster.cut([four], [cluster.etcd])
    four.start("--bootstrap-timeout=1s")
    wait_for(lambda: four.status()["uptime_ms"] > 4000, 10, "four times bootstrap-timeout")
    four.wait_not_ready_because("etcd")
    cluster.heal()
    recorder.wait_ready(four, 40)
    for node in (three, four):
        equal([event["how"] for event in node.events("bootstrap_done")], ["copied"], node.name)
    equal(recorder.check([one, two, three, four])["entries"], 2000)


if __name__ == "__main__":
    bridge.main()
