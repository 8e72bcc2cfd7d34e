#!/usr/bin/python3
"""Writes on a condition: what they are answered, and that no increment is lost that was told 200,
whatever happens to the daemons and the network meanwhile."""

import collections
import itertools
import os
import random
import signal
import threading
import time

import bridge
from harness import Rest, entry_path, equal, test, wait_for

TYPE = 5
COUNTERS, CLIENTS = 100, 8
COUNTERS_SECONDS = float(os.environ.get("PODMIRROR_COUNTERS_SECONDS", "15"))
CUT_SECONDS = (0.5, 2, 6)   # shorter than the time after which a peer is out of reach, and longer
ROUNDS = 200


def put_if(rest, key, value, base, **query):
    """Only if this version is there; nothing may be there where `base` is None."""
    condition = {"If-Match": f'"{base}"'} if base else {"If-None-Match": "*"}
    return rest.request("PUT", entry_path(TYPE, key, **query), value, condition)


def version_of(answer):
    return answer.headers["ETag"].strip('"')


@test
def each_answer_tells_what_is_there(cluster):
    one, two, _ = cluster.start(3)
    with Rest(one.ip) as rest:
        made = put_if(rest, "k", b"1", None)
        equal((made.status, made.json()["ack"]["acked"]), (200, 2))
        first = made.json()["version"]
        with Rest(two.ip) as other:
            again = put_if(other, "k", b"2", None)
            equal((again.status, again.code), (412, "precondition-failed"))
            equal((again.json()["version"], version_of(again)), (first, first))
        second = put_if(rest, "k", b"2", first)
        equal(second.status, 200)
        equal(put_if(rest, "k", b"3", first).json()["version"], second.json()["version"])

        path = entry_path(TYPE, "k")
        equal(rest.request("DELETE", path, headers={"If-Match": f'"{first}"'}).status, 412)
        gone = rest.request("DELETE", path,
                            headers={"If-Match": f'"{second.json()["version"]}"'})
        equal(gone.status, 200)
        missing = put_if(rest, "k", b"4", first)
        equal((missing.status, missing.headers["ETag"]), (412, None))
        equal(put_if(two.rest(), "k", b"4", None).status, 200)
        equal(one.value(TYPE, "k"), b"4")

        for headers in ({"If-Match": "*"}, {"If-Match": f'"{first}", "{first}"'},
                        {"If-None-Match": f'"{first}"'},
                        {"If-Match": f'"{first}"', "If-None-Match": "*"}):
            refused = rest.request("PUT", path, b"5", headers)
            equal((refused.status, refused.code), (400, "precondition-unsupported"), headers)
        equal(put_if(rest, "k", b"5", None, ack="one").status, 400)
        for method, target in (("POST", "/v1/cache"), ("DELETE", f"/v1/cache/{TYPE}?prefix=k")):
            refused = rest.request(method, target, b"{}", {"If-None-Match": "*"})
            equal((refused.status, refused.code), (400, "precondition-unsupported"), target)
        equal(one.value(TYPE, "k"), b"4")


@test
def who_cannot_be_asked_is_named(cluster):
    one, two, three = cluster.start(3)
    three.signal(signal.SIGSTOP)
    with Rest(one.ip) as rest:
        answer = put_if(rest, "k", b"1", None, timeout="500ms")
        equal((answer.status, answer.json()["ack"]["pending"]), (202, [three.name]))
        three.signal(signal.SIGCONT)
        cluster.wait_same([one, two, three], 15)
        cluster.wait_streaming([one, two, three], 15)
        equal(put_if(rest, "k", b"2", answer.json()["version"]).status, 200)


@test
def of_two_that_create_a_key_one_is_told_200(cluster):
    nodes = cluster.start(3)
    start = threading.Barrier(2)
    answers = {}

    def create(node):
        with Rest(node.ip) as rest:
            for i in range(ROUNDS):
                start.wait(10)
                answers[node.name, i] = put_if(rest, f"r{i}", node.name.encode(), None)

    threads = [threading.Thread(target=create, args=(node,), daemon=True) for node in nodes[:2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    cluster.wait_same(nodes)
    kinds = collections.Counter()
    for i in range(ROUNDS):
        both = {node.name: answers[node.name, i] for node in nodes[:2]}
        kinds[tuple(sorted(answer.status for answer in both.values()))] += 1
        winners = [name for name, answer in both.items() if answer.status == 200]
        equal(len(winners), 1, f"r{i}: {[answer.body for answer in both.values()]}")
        for node in nodes:
            equal(node.value(TYPE, f"r{i}"), winners[0].encode(), f"r{i}")
        lost = next(answer for answer in both.values() if answer.status != 200)
        if lost.status == 409:
            equal(lost.json()["winner"], both[winners[0]].json()["version"])
    print(f"     {dict(kinds)}")
    assert kinds[200, 409] > 0, "they never met"


class Counters:
    """Clients that increase counters: read, add one, write on the version that was read."""

    Write = collections.namedtuple("Write", "version base count status")

    def __init__(self, nodes):
        self._nodes = nodes
        self._over = threading.Event()
        self._error = None
        self._ids = itertools.count()
        self.writes = collections.defaultdict(list)     # key -> those that were applied
        self.statuses = collections.Counter()
        self._threads = [threading.Thread(target=self._run, args=(random.Random(i),), daemon=True)
                         for i in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def go_on(self, seconds):
        """Lets the clients work for so long."""
        self._over.wait(seconds)

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive(), "a client hangs"
        if self._error:
            raise self._error

    def _run(self, choose):
        try:
            self._increase_on(choose)
        except Exception as error:  # told by stop()
            self._error = error

    def _increase_on(self, choose):
        while not self._over.is_set():
            try:
                with Rest(choose.choice(self._nodes).ip, timeout=3) as rest:
                    for _ in range(20):
                        self._increase(rest, f"c{choose.randrange(COUNTERS)}")
            except OSError:
                self.statuses["no answer"] += 1
                self._over.wait(0.05)   # the daemon is away: its port would be tried in a circle

    def _increase(self, rest, key):
        found = rest.request("GET", entry_path(TYPE, key))
        if found.status not in (200, 404):
            raise OSError(f"not ready: {found.status}")
        base = version_of(found) if found.status == 200 else None
        count = int(found.body.split()[0]) + 1 if base else 1
        value = f"{count} by {next(self._ids)} on {base}"
        answer = put_if(rest, key, value.encode(), base, timeout="300ms")
        self.statuses[answer.status] += 1
        if answer.status in (200, 202):
            version = answer.json()["version"]
            self.writes[key].append(self.Write(version, base or "", count, answer.status))
        elif answer.status not in (409, 412, 503):
            raise AssertionError(f"{answer.status} {answer.body}")

    def check(self, nodes):
        """Of two of one key that were told 200 the greater has seen the lesser."""
        for key, writes in self.writes.items():
            done = sorted(write for write in writes if write.status == 200)
            for lesser, greater in itertools.pairwise(done):
                assert greater.base >= lesser.version, f"{key}: {lesser} and {greater}"
                assert greater.count > lesser.count, f"{key}: {lesser} and {greater}"
            for node in nodes:
                value = node.value(TYPE, key)
                at_least = done[-1].count if done else 0
                assert int(value.split()[0]) >= max(at_least, len(done)), f"{key}: {value}, {done}"


@test
def no_increment_that_was_told_200_is_lost(cluster):
    """Daemons are killed and started, and cut off from each other, one thing at a time: what all
    that held it have lost, or who counts nobody, is promised nothing."""
    nodes = cluster.start(3)
    choose = random.Random(1)
    counters = Counters(nodes)
    end = time.monotonic() + COUNTERS_SECONDS
    faults = collections.Counter()
    while time.monotonic() < end:
        node = choose.choice(nodes)
        before = counters.statuses[200]
        if choose.random() < 0.5:
            faults["killed"] += 1
            node.kill()
            node.restart_record()
            node.start()
            node.wait_ready(30)
        else:
            faults["cut"] += 1
            cluster.cut([node], [other for other in nodes if other is not node])
            counters.go_on(choose.choice(CUT_SECONDS))
            cluster.heal()
        cluster.wait_streaming(nodes, 30)
        wait_for(lambda: counters.statuses[200] > before, 20, "a write that is told 200")
    counters.stop()
    cluster.wait_same(nodes, 30)
    print(f"     {dict(counters.statuses)}, {dict(faults)}")
    for status in (202, 412):
        assert counters.statuses[status] > 0, f"it was too quiet: {dict(counters.statuses)}"
    counters.check(nodes)


if __name__ == "__main__":
    bridge.main()
