#!/usr/bin/python3
"""A peer that hangs: what writers are told, how long they wait, and how it heals."""

import signal
import time

import harness
from harness import equal, load, test, wait_for

OUT_OF_REACH_SECONDS = 5


def timed_put(node, key, **query):
    """(answer, seconds)"""
    begin = time.monotonic()
    answer = node.put(1, key, b"v", **query)
    return answer, time.monotonic() - begin


@test
def writers_wait_once_then_not_at_all(cluster):
    one, two, three = cluster.start(3)
    three.signal(signal.SIGSTOP)
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


@test(slow=True)
def memory_for_a_stopped_peer_is_bounded(cluster):
    one, two, three = cluster.start(3, "--backlog-bytes=4MiB")
    three.signal(signal.SIGSTOP)
    value = "x" * 100_000
    load(one, 100)
    settled = one.rss()
    with harness.Rest(one.ip) as rest:
        for i in range(1000):   # 100 MB through the backlog of 4 MiB, 20 keys over and over
            answer = rest.request("PUT", f"/v1/cache/2/k-{i % 20}?ack=local", value)
            equal(answer.status, 200)
    grown = one.rss() - settled
    assert grown < 64 << 20, f"grew by {grown >> 20} MiB"
    three.signal(signal.SIGCONT)
    cluster.wait_same([one, two, three], seconds=20)


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
