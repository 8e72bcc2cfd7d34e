#!/usr/bin/python3
"""Peers from a list of names and addresses: a headless Service without its Kubernetes."""

import time

import harness
import nameserver
from harness import GRPC_PORT, BareNode, NotYet, equal, test, wait_for

NAME = "cache.example.test"
PEERS = f"--peers={NAME}:{GRPC_PORT}"
LOOK_UP_SECONDS = 5 + 3     # a name is looked up every 5 s


class Daemon(BareNode):
    def start(self, *args):
        super().start("--discovery=static", f"--pod-ip={self.ip}", *args)

    def peer_ips(self):
        return {peer["ip"] for peer in self.peers()}

    def wait_peer_ips(self, ips, seconds=LOOK_UP_SECONDS):
        def seen():
            if self.peer_ips() != set(ips):
                raise NotYet(str(self.peer_ips()))
            return True
        wait_for(seen, seconds, f"the peers {sorted(ips)} at {self.name}")

    def wait_discovery(self, healthy, text=""):
        def seen():
            state = self.status()["discovery"]
            if state["healthy"] != healthy or text not in state["error"]:
                raise NotYet(str(state))
            return True
        wait_for(seen, LOOK_UP_SECONDS, f"discovery {healthy} {text}")


def wait_mutual(nodes):
    """Each looks the name up in its own time; a put counts on those that its writer knows."""
    for node in nodes:
        node.wait_peer_ips({other.ip for other in nodes if other is not node})


def fleet(cluster, server, ips):
    """Ready daemons at these addresses (None: an IPv4 one), which one name stands for."""
    nodes = [Daemon(cluster, ip) for ip in ips]
    server.records[NAME] = [node.ip for node in nodes]
    for node in nodes:
        node.start(PEERS)
    for node in nodes:
        node.wait_ready()
    wait_mutual(nodes)
    for node in nodes:
        wait_for(lambda: {peer["state"] for peer in node.peers()} == {"streaming"}, 10, "streaming")
    return nodes


def put_everywhere(nodes, key):
    for writer in nodes:
        name = f"{key}-{writer.name}"
        equal(writer.put(1, name, b"x").status, 200, name)
        for node in nodes:
            equal(node.value(1, name), b"x", f"{name} at {node.name}")


@test
def a_name_stands_for_all_its_addresses(cluster):
    with nameserver.name_server(cluster) as server:
        nodes = fleet(cluster, server, [None, None, "fd00:1::3"])
        put_everywhere(nodes, "a")
        addresses = {peer["address"] for peer in nodes[0].peers()}
        equal(addresses, {f"{nodes[1].ip}:{GRPC_PORT}", f"[fd00:1::3]:{GRPC_PORT}"})

        # One more, then one less: seen when the name is looked up the next time.
        late = Daemon(cluster, "fd00:1::4")
        server.records[NAME].append(late.ip)
        late.start(PEERS)
        late.wait_ready()
        wait_mutual([*nodes, late])
        put_everywhere([*nodes, late], "b")
        nodes[1].terminate()
        server.records[NAME].remove(nodes[1].ip)
        remaining = [nodes[0], nodes[2], late]
        wait_mutual(remaining)
        put_everywhere(remaining, "c")


@test(slow=True)
def a_name_in_trouble_keeps_its_addresses(cluster):
    with nameserver.name_server(cluster) as server:
        nodes = fleet(cluster, server, [None, "fd00:2::2", None])
        first = nodes[0]
        others = {node.ip for node in nodes[1:]}

        def check_kept(text):
            first.wait_discovery(False, text)
            equal(first.peer_ips(), others, text)
            equal(first.get("/readyz").status, 200)
            put_everywhere(nodes, text.replace(" ", "-"))
        records = server.records.pop(NAME)          # NXDOMAIN
        check_kept("not known")
        server.records[NAME] = []                   # the name is there, without an address
        check_kept("No address")
        server.records[NAME] = records
        first.wait_discovery(True)
        server.trouble = {nameserver.A: "fail", nameserver.AAAA: "fail"}
        check_kept("Temporary failure")
        server.trouble = {}
        first.wait_discovery(True)
        server.trouble = {nameserver.A: "silent", nameserver.AAAA: "silent"}
        asked = server.asked
        wait_for(lambda: server.asked > asked + 1, LOOK_UP_SECONDS, "asked again")
        check_kept("Temporary failure")

        # It goes on where it was.
        server.records[NAME] = [node.ip for node in nodes[:2]]
        server.trouble = {}
        first.wait_discovery(True)
        first.wait_peer_ips({nodes[1].ip})


@test(slow=True)
def one_family_of_addresses_in_trouble_keeps_what_it_had(cluster):
    with nameserver.name_server(cluster) as server:
        nodes = fleet(cluster, server, [None, "fd00:3::2", None])
        first = nodes[0]
        others = {node.ip for node in nodes[1:]}
        for kind in (nameserver.AAAA, nameserver.A):
            server.trouble = {kind: "fail"}
            for _ in range(2):
                asked = server.asked
                wait_for(lambda: server.asked > asked + 1, LOOK_UP_SECONDS, "asked again")
            equal(first.peer_ips(), others, "what was known")
            server.trouble = {}
        # When the answer says that there is none of a family, there is none.
        server.records[NAME] = [first.ip, nodes[2].ip]
        first.wait_peer_ips({nodes[2].ip})


@test
def a_long_answer_is_taken_and_one_too_long_is_not(cluster):
    long = [f"{cluster.net}.{number}" for number in range(2, 142)]      # by TCP
    endless = "".join(f"127.{50 + number // 250}.{number % 250}.1 {NAME}2\n"
                      for number in range(4100))
    with nameserver.name_server(cluster, hosts=endless) as server:
        server.records[NAME] = long
        node = Daemon(cluster)
        node.start(PEERS, "--bootstrap-timeout=200ms")
        node.wait_peer_ips(long)
        other = Daemon(cluster)
        other.start(f"--peers={NAME}2:{GRPC_PORT}", "--bootstrap-timeout=200ms")
        other.wait_not_ready_because("more than 4096 addresses")
        equal(other.peers(), [])


def check_waits_on(node):
    """It is not ready long after its bootstrap-timeout of 200 ms either."""
    wait_for(lambda: node.status()["uptime_ms"] > 2000, 10, "ten times bootstrap-timeout")
    equal(node.get("/readyz").status, 503)


@test
def most_of_those_listed_have_to_be_at_hand(cluster):
    with nameserver.name_server(cluster) as server:
        nodes = [Daemon(cluster) for _ in range(3)]
        server.records[NAME] = [node.ip for node in nodes]
        nodes[0].start(PEERS, "--bootstrap-timeout=200ms")
        nodes[0].wait_not_ready_because(nodes[1].ip)
        nodes[0].wait_not_ready_because(nodes[2].ip)
        check_waits_on(nodes[0])
        nodes[1].start(PEERS, "--bootstrap-timeout=200ms")
        for node in nodes[:2]:
            node.wait_ready()
        # The last one knows nothing of the others' data, and is told to start.
        server.records[NAME] = [nodes[2].ip, "127.0.99.1"]
        nodes[2].start(PEERS, "--bootstrap-timeout=200ms")
        nodes[2].wait_not_ready_because("127.0.99.1")
        check_waits_on(nodes[2])
        nodes[2].kill()
        nodes[2].start(PEERS, "--bootstrap-timeout=200ms", "--bootstrap-alone")
        nodes[2].wait_ready()


@test
def a_name_that_nobody_answers_for_is_not_a_fleet_of_one(cluster):
    with nameserver.name_server(cluster) as server:
        node = Daemon(cluster)
        begin = time.monotonic()
        node.start(PEERS, "--bootstrap-timeout=200ms")
        node.wait_not_ready_because("not known")
        check_waits_on(node)
        server.records[NAME] = [node.ip]
        node.wait_ready()
        print(f"     ready {time.monotonic() - begin:.1f} s after its start")


if __name__ == "__main__":
    harness.main()
