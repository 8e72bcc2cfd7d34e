#!/usr/bin/python3
"""A peer that hangs: what writers are told, how long they wait, and how it heals."""

import collections
import json
import pathlib
import signal
import time

import harness
from harness import equal, test, wait_for
from workload import Background, Stopwatch

OUT_OF_REACH_SECONDS = 5
STOPPED_SECONDS = 60
ENTRIES_PER_SECOND, BATCH, BATCH_KEYS = 20_000, 1000, 20_000
BACKLOG_BYTES = 64 << 20    # the default


def timed_put(node, key, **query):
    """(answer, seconds)"""
    begin = time.monotonic()
    answer = node.put(1, key, b"v", **query)
    return answer, time.monotonic() - begin


@test
def writers_wait_once_then_not_at_all(cluster):
    one, two, three = cluster.start(3)
    three.signal(signal.SIGSTOP)
    status = pathlib.Path(f"/proc/{three.process.pid}/stat")
    wait_for(lambda: status.read_text().rpartition(")")[2].split()[0] == "T", 5, "stopped")
    stopped = time.monotonic()

    while time.monotonic() - stopped < OUT_OF_REACH_SECONDS:
        answer, seconds = timed_put(one, "while-thought-alive", timeout="500ms")
        equal(answer.status, 202)
        ack = answer.json()["ack"]
        equal((ack["peers"], ack["acked"], ack["pending"]), (2, 1, [three.name]))
        assert seconds < 0.5 + 0.3, f"waited {seconds:.2f} s with a timeout of 0.5 s"
        if seconds < 0.1:
            break   # known to be out of reach earlier than it must be
    for i in range(20):
        answer, seconds = timed_put(one, f"out-of-reach-{i}", timeout="500ms")
        equal((answer.status, answer.json()["ack"]["pending"]), (202, [three.name]))
        assert seconds < 0.1, f"waited {seconds:.2f} s for a peer known to be out of reach"
    equal(timed_put(one, "one", ack="one")[0].status, 200)
    equal(timed_put(one, "majority", ack="majority")[0].status, 200)
    equal(two.value(1, "out-of-reach-19"), b"v")
    assert one.peer(three.name)["error"] or one.peer(three.name)["state"] != "streaming"

    three.signal(signal.SIGCONT)
    cluster.wait_same([one, two, three], seconds=15)
    equal(three.value(1, "out-of-reach-19"), b"v")
    cluster.wait_streaming([one, two, three], seconds=15)
    equal(timed_put(one, "healed")[0].status, 200)
    equal(three.get("/readyz").status, 200)


class BatchWriter(Background):
    """Overwrites BATCH_KEYS keys round by round, in batches, at the rate that is asked for."""

    def __init__(self, node):
        super().__init__()
        self._node = node
        self.entries = 0
        self.round = 0          # the last one that was begun
        self.answers = collections.Counter()

    @staticmethod
    def value(round_, number):
        return f"{round_} {number}".rjust(100)

    def _work(self):
        begin = time.monotonic()
        with harness.Rest(self._node.ip) as rest:
            while not self._over.is_set():
                self.round += 1
                for first in range(0, BATCH_KEYS, BATCH):
                    data = {f"k-{i}": self.value(self.round, i)
                            for i in range(first, first + BATCH)}
                    body = json.dumps({"data": [{"type": 1, "data": data}]})
                    status = rest.request("POST", "/v1/cache?ack=local", body).status
                    self.answers[status] += 1
                    self.entries += BATCH
                    ahead = self.entries / ENTRIES_PER_SECOND - (time.monotonic() - begin)
                    self._over.wait(max(0, ahead))


@test(slow=True)
def stopped_peer_heals_after_a_minute(cluster):
    """20,000 entries a second, and a peer that hangs for a minute: bounded memory, local writes no
    slower, and the peer heals by repair."""
    nodes = one, two, three = cluster.start(3)

    def put(rest, number):
        path = harness.entry_path(2, f"k-{number % 100}", ack="local")
        equal(rest.request("PUT", path, b"x" * 100).status, 200)
    with BatchWriter(one) as writer:
        wait_for(lambda: writer.round > 3, 20, "writes under way")
        with Stopwatch(one, put) as before:
            wait_for(lambda: len(before.seconds) > 1000, 30, "writes before")
        settled = {node: node.rss() for node in (one, two)}
        three.signal(signal.SIGSTOP)
        stopped, entries = time.monotonic(), writer.entries
        most = dict(settled)

        def minute_over():
            for node, seen in most.items():
                most[node] = max(seen, node.rss())
            return time.monotonic() - stopped > STOPPED_SECONDS
        with Stopwatch(one, put) as during:
            wait_for(minute_over, 2 * STOPPED_SECONDS, "a minute")
        rate = (writer.entries - entries) / (time.monotonic() - stopped)
        three.signal(signal.SIGCONT)
        # Heals under writes: its link streams again.
        cluster.wait_streaming(nodes, seconds=30)
    equal(set(writer.answers), {200})
    begin = time.monotonic()
    cluster.wait_same(nodes, seconds=20)
    print(f"     {rate:.0f} entries/s, healed {time.monotonic() - begin:.1f} s after the last")
    assert rate > 0.9 * ENTRIES_PER_SECOND, f"{rate:.0f} entries/s"
    for node, seen in most.items():
        grown = seen - settled[node]
        print(f"     {node.name} grew by {grown >> 20} MiB")
        assert grown <= BACKLOG_BYTES + (64 << 20), f"{node.name} grew by {grown >> 20} MiB"
    during.check_within(2, before)
    last = {f"k-{i}": writer.value(writer.round, i).encode() for i in range(0, BATCH_KEYS, 997)}
    for node in nodes:
        equal({key: node.value(1, key) for key in last}, last, f"the last round on {node.name}")
    equal(len(three.events("bootstrap_done")), 1, "the stopped one did not copy all again")
    assert any(event["peer"] == three.name for node in (one, two)
               for event in node.events("repair_done")), "no repair with the stopped one"


@test
def killed_peer_is_known_gone_within_five_seconds(cluster):
    one, two, three = cluster.start(3)
    three.kill()
    wait_for(lambda: timed_put(one, "k", timeout="300ms")[1] < 0.1, OUT_OF_REACH_SECONDS,
             "a write that waits for nobody")
    answer, _ = timed_put(one, "k")
    equal((answer.status, answer.json()["ack"]["pending"]), (202, [three.name]))
    assert one.events("peer_lost"), "no peer_lost in the log"
    equal(two.value(1, "k"), b"v")


if __name__ == "__main__":
    harness.main()
