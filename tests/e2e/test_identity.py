#!/usr/bin/python3
"""Who is not taken for a peer, and that everybody is told so: /v1/peers says `refused` and why, the
log says it once, nobody waits for it and no entry crosses."""

import collections
import concurrent.futures
import time

import grpc

import harness
import pods
import stubs
from harness import GRPC_PORT, equal, test, wait_for

peer_pb, peer_grpc = stubs.generate("proto", "podmirror/v1/peer.proto")
DAY_MS = 24 * 3600 * 1000


class OtherRelease(peer_grpc.PeerServicer):
    """A pod at its own address that answers every Hello with an introduction of its choice."""

    def __init__(self, cluster, name, **introduction):
        self.record = pods.new_record(name, f"{cluster.net}.100", started_at=pods.now(60))
        self.greeted = collections.Counter()
        self._introduction = peer_pb.Introduction(**{
            "name": name, "uid": self.record["metadata"]["uid"], "cluster": "default/podmirror",
            "protocol": 1, "incarnation": 7, "synced": True, "hlc": now_hlc(), **introduction})
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8),
                                   options=[("grpc.so_reuseport", 0)])
        peer_grpc.add_PeerServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"{cluster.net}.100:{GRPC_PORT}")
        self._server.start()
        cluster.etcd.put_record(self.record)

    def stop(self):
        self._server.stop(0).wait(5)

    def Exchange(self, frames, context):
        for frame in frames:
            if frame.HasField("hello"):
                self.greeted[frame.hello.self.name] += 1
                yield peer_pb.Frame(hello_reply=peer_pb.HelloReply(self=self._introduction))


def now_hlc(ahead_ms=0):
    return int(time.time() * 1000 + ahead_ms) << 16


def check_refused(nodes, other, *words):
    """Each of the nodes says so, once, and writes do not wait for the refused one."""
    name = other.record["metadata"]["name"]
    for node in nodes:
        peer = node.wait_peer(name, "refused")
        for word in words:
            assert word in peer["error"], peer
        # It is tried again, and still stands in the log once.
        wait_for(lambda: other.greeted[node.name] >= 2, 30, f"{name} is tried again")
        equal([event["peer"] for event in node.events("peer_refused")], [name], node.name)
        begin = time.monotonic()
        answer = node.put(1, f"by-{node.name}", b"v", timeout="8s")
        equal((answer.status, answer.json()["ack"]["pending"]), (202, [name]))
        assert time.monotonic() - begin < 0.5, "a refused peer was waited for"


@test
def a_protocol_too_far_away_is_refused(cluster):
    nodes = cluster.start(2)
    other = OtherRelease(cluster, "podmirror-future", protocol=99)
    try:
        check_refused(nodes, other, "protocol version 99")
    finally:
        other.stop()


@test
def a_neighbouring_protocol_is_not_refused(cluster):
    one, = cluster.start(1)
    other = OtherRelease(cluster, "podmirror-next", protocol=2)
    try:
        one.wait_peer("podmirror-next", "repairing")
    finally:
        other.stop()


@test
def a_clock_far_ahead_is_refused(cluster):
    nodes = cluster.start(2)
    other = OtherRelease(cluster, "podmirror-late", hlc=now_hlc(ahead_ms=2 * DAY_MS))
    try:
        check_refused(nodes, other, "24 h ahead")
    finally:
        other.stop()


@test
def another_uid_than_the_record_says_is_refused(cluster):
    nodes = cluster.start(2)
    other = OtherRelease(cluster, "podmirror-heir", uid="somebody else")
    try:
        check_refused(nodes, other, "UID")
    finally:
        other.stop()


@test
def a_service_changed_in_a_rollout_does_not_split(cluster):
    """The new pods see the old ones and are told that these belong to another cluster: they do not
    become ready, so the rollout stops, and say why. With `cluster` set they are one."""
    old = cluster.start(2)
    old[0].put(1, "k", b"v")
    new = cluster.node()
    new.write_record()
    new.start("--service=podmirr")
    for node in old:
        assert "default/podmirr" in node.wait_peer(new.name, "refused")["error"]
        peer = new.wait_peer(node.name, "refused")
        assert "default/podmirror" in peer["error"], peer
    answer = new.get("/readyz")
    equal(answer.status, 503)
    reason = answer.body.decode()
    for node in old:
        assert node.name in reason and "default/podmirror" in reason, reason
    equal(new.put(1, "lost", b"v").status, 503)

    new.kill()
    new.start("--service=podmirr", "--cluster=default/podmirror")
    new.wait_ready()
    equal(new.value(1, "k"), b"v")
    cluster.wait_same([*old, new])


if __name__ == "__main__":
    harness.main()
