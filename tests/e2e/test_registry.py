#!/usr/bin/python3
"""Daemons that find each other through their own entries in an etcd, without Kubernetes."""

import json
import shutil
import signal
import socket
import time

import harness
from harness import GRPC_PORT, REST_PORT, BareNode, equal, test, wait_for

TTL = 3


class Daemon(BareNode):
    def start(self, *args, ttl=TTL):
        super().start("--discovery=registry", f"--registry-ttl={ttl}s", *args)

    @property
    def key(self):
        return f"/podmirror/podmirror/{self.address}"

    def entry(self):
        """What it says of itself in etcd, or None."""
        value = self.cluster.etcd.get(self.key)
        return json.loads(value) if value else None

    def wait_gone(self, name, seconds):
        """Until /v1/peers does not list it any more; the time of the monotonic clock."""
        wait_for(lambda: self.peer(name) is None, seconds, f"{name} gone from {self.name}")
        return time.monotonic()


def fleet(cluster, count=3, ttl=TTL):
    cluster.etcd.start()
    nodes = [Daemon(cluster) for _ in range(count)]
    for node in nodes:
        node.start(ttl=ttl)
    for node in nodes:
        node.wait_ready()
    cluster.wait_streaming(nodes)
    return nodes


def put_everywhere(writer, nodes, key):
    equal(writer.put(1, key, b"value of " + key.encode()).status, 200, key)
    for node in nodes:
        equal(node.value(1, key), b"value of " + key.encode(), f"{key} at {node.name}")


@test
def three_daemons_and_no_kubernetes(cluster):
    nodes = fleet(cluster)
    put_everywhere(nodes[0], nodes, "a")
    for node in nodes:
        wait_for(lambda: node.entry()["ready"], 5, "ready in etcd")
        said = node.entry()
        equal((said["name"], said["uid"], said["address"]),
              (node.name, node.status()["uid"], node.address))
        for peer in node.peers():
            equal(peer["started_at"], cluster.find(peer["name"]).entry()["started_at"])
    discovery = nodes[0].status()["discovery"]
    equal((discovery["source"], discovery["healthy"], discovery["peers"]), ("registry", True, 2))

    # One more, and a program that registers only an address.
    late = Daemon(cluster)
    late.start()
    late.wait_ready()
    equal(late.value(1, "a"), b"value of a")
    address = f"{cluster.net}.99:{GRPC_PORT}"
    cluster.etcd.put(f"/podmirror/podmirror/{address}", address.encode())
    wait_for(lambda: late.peer(address), 5, "the plain address among the peers")


@test
def a_killed_daemon_is_gone_when_its_lease_ends(cluster):
    one, two, three = fleet(cluster)
    killed = time.monotonic()
    three.kill()
    for node in (one, two):
        print(f"     gone from {node.name} {node.wait_gone(three.name, TTL + 1) - killed:.2f} s "
              f"after the kill; the TTL is {TTL} s")
    put_everywhere(one, [one, two], "after")    # 200: it is not waited for any more
    three.start()
    three.wait_ready()
    equal(three.value(1, "after"), b"value of after")


@test
def a_daemon_killed_and_started_again(cluster):
    one, two, three = fleet(cluster)
    put_everywhere(one, [one, two, three], "a")
    # Another UID at the same address waits until the lease of the former run has ended.
    begin = time.monotonic()
    three.kill()
    three.start()
    three.wait_not_ready_because("held by")
    three.wait_ready(TTL + 10)
    print(f"     made-up pod-uid: ready {time.monotonic() - begin:.2f} s after the kill")
    equal(three.value(1, "a"), b"value of a")
    # The same UID does not.
    three.terminate()
    for _ in range(2):
        begin = time.monotonic()
        three.start("--pod-uid=three")
        three.wait_ready()
        cluster.wait_streaming([one, two, three])
        took = time.monotonic() - begin
        three.kill()
    print(f"     its own pod-uid: ready {took:.2f} s after its start; the TTL is {TTL} s")
    held = [line for line in three.events("discovery_error") if "held by" in line["error"]]
    equal(len(held), 1, held)


def refuses(node):
    """Whether nobody listens at its REST port."""
    try:
        socket.create_connection((node.ip, REST_PORT), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        pass
    return False


@test
def a_daemon_that_stops_is_gone_before_its_ports_are(cluster):
    one, two, three = fleet(cluster)
    for number in range(200):
        three.put(1, f"last-{number}", b"x", ack="local")
    three.signal(signal.SIGTERM)
    ended = None
    closed = False
    gone = {}
    while len(gone) < 2 or ended is None:
        for node in (one, two):
            if node.name not in gone and node.peer(three.name) is None:
                gone[node.name] = time.monotonic()
        if not closed and refuses(three):
            closed = True
            equal(three.entry(), None, "it is still listed, and its port is closed")
        if ended is None and three.process.poll() is not None:
            ended = time.monotonic()
        assert ended is None or time.monotonic() < ended + 2, gone
        time.sleep(0.002)
    equal(three.process.returncode, 0)
    for name, at in sorted(gone.items()):
        print(f"     gone from {name} {(at - ended) * 1000:+.0f} ms after its exit (wanted: +100)")
        assert at < ended + 1, name     # a busy machine; the figure above is the one to look at
    equal(three.entry(), None)
    for node in (one, two):
        equal(node.value(1, "last-199"), b"x")
    lost = [node.name for node in (one, two)
            for line in node.events("peer_lost") if line["peer"] == three.name]
    print(f"     {len(lost)} of 2 lost the connection before they knew that it had left")


@test
def an_etcd_without_its_data_is_filled_again(cluster):
    nodes = fleet(cluster)
    put_everywhere(nodes[0], nodes, "a")

    def check_all_well():
        for node in nodes:
            equal(node.get("/readyz").status, 200, node.name)
            equal(len(node.peers()), 2, node.name)
    cluster.etcd.kill()
    shutil.rmtree(cluster.directory / "etcd")
    wait_for(lambda: not nodes[0].status()["discovery"]["healthy"], 10, "etcd missed")
    check_all_well()
    cluster.etcd.start()
    begin = time.monotonic()
    while not all(node.entry() for node in nodes):
        check_all_well()
        assert time.monotonic() < begin + TTL + 5, [node.entry() for node in nodes]
        time.sleep(0.02)
    print(f"     all registered again {time.monotonic() - begin:.2f} s after etcd was back; "
          f"the TTL is {TTL} s")
    check_all_well()
    put_everywhere(nodes[1], nodes, "b")
    # What it went through is forgotten: who dies now is let go.
    wait_for(lambda: nodes[0].status()["discovery"]["healthy"], 10, "etcd read")
    nodes[2].kill()
    nodes[0].wait_gone(nodes[2].name, 3 * TTL + 5)


@test
def a_daemon_that_stood_still_registers_again(cluster):
    one, two, three = fleet(cluster)
    put_everywhere(one, [one, two, three], "before")
    three.signal(signal.SIGSTOP)
    one.wait_gone(three.name, TTL + 5)
    equal(three.entry(), None)
    put_everywhere(one, [one, two], "meanwhile")
    three.signal(signal.SIGCONT)
    begin = time.monotonic()
    wait_for(three.entry, TTL + 5, "registered again")
    print(f"     registered again {time.monotonic() - begin:.2f} s after it went on")
    cluster.wait_streaming([one, two, three])
    wait_for(lambda: three.value(1, "meanwhile") == b"value of meanwhile", 10, "what it missed")
    equal(three.get("/readyz").status, 200)


@test
def a_joiner_waits_for_a_ready_daemon_that_it_cannot_reach(cluster):
    holder, = fleet(cluster, 1, ttl=60)
    put_everywhere(holder, [holder], "a")
    wait_for(lambda: holder.entry()["ready"], 5, "ready in etcd")
    holder.signal(signal.SIGSTOP)
    joiner = Daemon(cluster)
    joiner.start("--bootstrap-timeout=500ms")
    joiner.wait_not_ready_because(f"{holder.name} (Ready, not reached")
    holder.signal(signal.SIGCONT)
    joiner.wait_ready()
    equal(joiner.value(1, "a"), b"value of a")


@test
def the_address_of_a_living_daemon_is_not_taken(cluster):
    first, = fleet(cluster, 1)
    before = first.entry()
    second = Daemon(cluster)
    second.start(f"--pod-ip={first.ip}")
    reason = second.wait_not_ready_because("not registered")
    assert f"held by {first.name} (uid {before['uid']})" in reason, reason
    assert second.status()["discovery"]["error"] in reason, second.status()
    equal(first.entry()["uid"], before["uid"])
    first.terminate()
    second.wait_ready()
    equal(json.loads(cluster.etcd.get(first.key))["uid"], second.status()["uid"])


if __name__ == "__main__":
    harness.main()
