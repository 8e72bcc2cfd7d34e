#!/usr/bin/python3
"""The C++ client: installed, found by a project outside of this one (tests/client), and run against
real daemons that are killed, stopped, drained and added under its load."""

import functools
import shutil
import signal
import subprocess
import threading

import harness
from harness import (BareNode, EtcdServer, GRPC_PORT, NotYet, ROOT, equal, in_url, test,
                     wait_for)

BUILD = ROOT / "build"
NEW_SHARE_SECONDS = 2
SHARE = 0.1         # how far a daemon's number of calls may be from that of the others
WINDOW_CALLS = 3000     # so many calls of one daemon make a share that can be measured
TTL = 3


@functools.cache
def programs():
    """The folder with the programs of tests/client, built against podmirror as it is installed."""
    prefix, out = BUILD / "client-prefix", BUILD / "client-example"
    for old in (prefix, out):
        shutil.rmtree(old, ignore_errors=True)
    for command in (["cmake", "--install", BUILD, "--prefix", prefix],
                    ["cmake", "-S", ROOT / "tests/client", "-B", out, "-G", "Ninja",
                     f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release",
                     "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror",
                     "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"],
                    ["cmake", "--build", out]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return out


def address(node):
    return f"{in_url(node.ip)}:{GRPC_PORT}"


class Load:
    """The program tests/client/load.cpp, and the counts that it printed last."""

    def __init__(self, where, readers=3, writers=0):
        self._process = subprocess.Popen(
            [programs() / "load", where, str(readers), str(writers)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._counts, self._errors = {}, []
        self._threads = [threading.Thread(target=target, daemon=True)
                         for target in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        equal(self._process.wait(10), 0, "exit code of the load")
        for thread in self._threads:
            thread.join(10)
        print(f"     {self._counts}", *self._errors[:5], sep="\n     ")

    def _read(self):
        for line in self._process.stdout:
            words = line.split()
            self._counts = dict(zip(words[::2], words[1::2]))

    def _read_errors(self):
        self._errors.extend(line.rstrip() for line in self._process.stderr)

    def count(self, name):
        return int(self._counts.get(name, 0))

    def calls(self, node):
        return self.count(address(node))

    def state(self, node):
        """The state of the daemon as the client sees it; None when it does not know it."""
        return self._counts.get(f"state:{address(node)}")

    def wait_state(self, node, state, seconds=10):
        wait_for(lambda: self.state(node) == state, seconds, f"{node.name} is {state}")

    def wait_calls(self, node, more, seconds=20):
        goal = self.calls(node) + more

        def reached():
            if self.calls(node) < goal:
                raise NotYet(str(self._counts))
            return True
        wait_for(reached, seconds, f"{more} calls more of {node.name}")

    def check_even(self, nodes):
        """Fails unless each of them gets the same share of the calls from now on."""
        before = {node.name: self.calls(node) for node in nodes}
        self.wait_calls(nodes[0], WINDOW_CALLS)
        counts = self._counts
        gained = {node.name: int(counts[address(node)]) - before[node.name] for node in nodes}
        mean = sum(gained.values()) / len(gained)
        print(f"     shares: {gained}")
        assert all(abs(calls - mean) <= SHARE * mean for calls in gained.values()), gained

    def wait_even(self, nodes, seconds=20):
        """Waits until each of them gets the same share of the calls."""
        def is_even():
            try:
                self.check_even(nodes)
            except AssertionError as uneven:
                raise NotYet(str(uneven)) from None
            return True
        wait_for(is_even, seconds, "an even share for each")


def peers_of(nodes):
    return ",".join(address(node) for node in nodes)


@test
def installed_package_is_found_and_its_example_runs(cluster):
    nodes = cluster.start(2)
    done = subprocess.run([programs() / "example", *map(address, nodes)], capture_output=True,
                          text=True, timeout=30, check=False)
    equal((done.returncode, done.stderr), (0, ""))
    lines = done.stdout.splitlines()
    equal(lines[:2], ["2 set, on 1 of 1 other pods", "hello, pods"])
    equal(sorted(lines[2:4]), ["answer = 42", "greeting = hello, pods"])
    equal(nodes[1].value(1, "answer"), b"42")
    nowhere = subprocess.run([programs() / "example", f"{cluster.net}.99:1"], capture_output=True,
                             text=True, timeout=30, check=False)
    equal(nowhere.returncode, 1)
    assert "not written: unavailable: " in nowhere.stderr, nowhere.stderr
    assert "connection refused" in nowhere.stderr, nowhere.stderr


@test
def mirror_of_the_installed_package_has_what_the_daemons_have(cluster):
    nodes = cluster.start(2)
    nodes[0].put(1, "greeting", "hello, pods")
    done = subprocess.run([programs() / "mirror", *map(address, nodes)], capture_output=True,
                          text=True, timeout=30, check=False)
    equal((done.returncode, done.stdout, done.stderr), (0, "hello, pods of 1\n", ""))


@test
def examples_are_those_of_the_manual(_cluster):
    manual = (ROOT / "src/client/README.md").read_text()
    for name in ("example", "mirror"):
        example = (ROOT / f"tests/client/{name}.cpp").read_text()
        assert f"```cpp\n{example}```\n" in manual, f"{name} differs"


@test
def killed_daemon_fails_no_read_and_gets_its_share_again(cluster):
    nodes = one, two, three = cluster.start(3)
    with Load(peers_of(nodes), readers=3) as load:
        for node in nodes:
            load.wait_state(node, "ready")
        load.check_even(nodes)
        two.kill()
        load.wait_state(two, "failed")
        load.check_even([one, three])
        two.start()
        two.wait_ready()
        load.wait_calls(two, 1, NEW_SHARE_SECONDS)
        load.check_even(nodes)
    equal(load.count("failed_reads"), 0)


@test
def killed_daemon_fails_only_writes_under_way(cluster):
    nodes = one, two, _ = cluster.start(3)
    with Load(peers_of(nodes), readers=1, writers=3) as load:
        load.wait_calls(one, 500)
        two.kill()
        load.wait_state(two, "failed")
        load.wait_calls(one, 500)
    equal((load.count("failed_reads"), load.count("failed_writes")), (0, 0))
    assert load.count("uncertain_writes") <= 3, "more than there were writers"


@test
def drained_daemon_fails_no_call(cluster):
    nodes = one, two, three = cluster.start(3)
    with Load(peers_of(nodes), readers=2, writers=2) as load:
        load.wait_calls(two, 500)
        equal(two.terminate(), 0)
        load.wait_state(two, "failed")
        load.check_even([one, three])
    for name in ("failed_reads", "failed_writes", "uncertain_writes"):
        equal(load.count(name), 0, name)


@test
def read_only_client_does_not_notice_a_drain(cluster):
    nodes = one, two = cluster.start(2)
    with Load(peers_of(nodes), readers=3) as load:
        load.wait_calls(two, 500)
        equal(two.terminate(), 0)
        load.wait_state(two, "failed")
        load.wait_calls(one, 500)
    equal(load.count("failed_reads"), 0)


@test
def stopped_daemon_fails_no_read_and_comes_back(cluster):
    nodes = one, two, three = cluster.start(3)
    with Load(peers_of(nodes), readers=3) as load:
        load.wait_calls(two, 500)
        two.signal(signal.SIGSTOP)
        load.wait_state(two, "failed")
        load.check_even([one, three])
        two.signal(signal.SIGCONT)
        load.wait_calls(two, 1, NEW_SHARE_SECONDS)
        load.check_even(nodes)
    equal(load.count("failed_reads"), 0)


@test
def daemon_that_is_started_later_gets_its_share(cluster):
    one, two = cluster.start(2)
    three = cluster.node()
    with Load(peers_of([one, two, three])) as load:
        load.wait_state(three, "failed")
        load.check_even([one, two])
        three.write_record()
        three.start()
        three.wait_ready()
        load.wait_calls(three, 1, NEW_SHARE_SECONDS)
        load.check_even([one, two, three])
    equal(load.count("failed_reads"), 0)


@test
def addresses_of_a_name_are_followed(cluster):
    nodes = one, two, three = cluster.start(3)
    hosts = cluster.directory / "hosts"

    def set_hosts(*nodes):
        hosts.write_text("".join(f"{node.ip} pods.test\n" for node in nodes))

    set_hosts(one, two)
    # The program has a mount namespace of its own.
    subprocess.run(["mount", "--bind", hosts, "/etc/hosts"], check=True)
    try:
        with Load(f"pods.test:{GRPC_PORT}") as load:
            load.wait_state(one, "ready")
            load.wait_state(two, "ready")
            set_hosts(one, two, three)
            wait_for(lambda: load.calls(three) > 0, NEW_SHARE_SECONDS, "calls of the third")
            load.check_even(nodes)
            set_hosts(two, three)
            wait_for(lambda: load.state(one) is None, 5, "the first one is gone")
            load.check_even([two, three])
        equal(load.count("failed_reads"), 0)
    finally:
        subprocess.run(["umount", "/etc/hosts"], check=True)


class Registered(BareNode):
    def start(self, *args):
        super().start("--discovery=registry", f"--registry-ttl={TTL}s", *args)


def registered(cluster, ips):
    """Ready daemons that registered themselves, at these addresses (None: the next one)."""
    nodes = [Registered(cluster, ip) for ip in ips]
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
    cluster.wait_streaming(nodes)
    return nodes


@test
def registered_daemons_are_found_and_followed(cluster):
    cluster.etcd.start()
    nodes = one, two, three = registered(cluster, [None] * 3)
    with Load(cluster.etcd.url, readers=2, writers=1) as load:
        for node in nodes:
            load.wait_state(node, "ready")
        load.check_even(nodes)
        two.kill()
        load.wait_state(two, "failed")
        load.check_even([one, three])
        wait_for(lambda: load.state(two) is None, TTL + 2, "the killed one is not listed any more")
        four = Registered(cluster)
        four.start()
        four.wait_ready()
        load.wait_calls(four, 1, NEW_SHARE_SECONDS)
        load.check_even([one, three, four])
        equal(three.terminate(), 0)
        wait_for(lambda: load.state(three) is None, 2, "the stopped one is not listed any more")
        load.check_even([one, four])
        cluster.etcd.kill()
        load.check_even([one, four])    # the last set stays
    equal((load.count("failed_reads"), load.count("failed_writes")), (0, 0))
    assert load.count("uncertain_writes") <= 1, "more than were under way at the kill"


@test
def registry_that_lost_everything_costs_no_call(cluster):
    cluster.etcd.start()
    nodes = one, two = registered(cluster, [None] * 2)
    with Load(cluster.etcd.url) as load:
        for node in nodes:
            load.wait_state(node, "ready")
        for node in nodes:
            cluster.etcd.delete(f"/podmirror/podmirror/{node.address}")
        for node in nodes:
            wait_for(lambda: cluster.etcd.get(f"/podmirror/podmirror/{node.address}"), TTL + 2,
                     "registered again")
        for node in nodes:
            load.wait_state(node, "ready")
        load.wait_even([one, two])     # the client may have seen one of them missing
    equal(load.count("failed_reads"), 0)


@test
def ipv6_daemons_listed_or_registered(cluster):
    cluster.etcd = EtcdServer(cluster, "::1")
    cluster.etcd.start()
    nodes = registered(cluster, [f"fd00:{cluster.net.rpartition('.')[2]}::{i}" for i in (1, 2, 3)])
    for where in (cluster.etcd.url, peers_of(nodes)):
        with Load(where) as load:
            for node in nodes:
                load.wait_state(node, "ready")
            load.check_even(nodes)
        equal(load.count("failed_reads"), 0)


if __name__ == "__main__":
    harness.main()
