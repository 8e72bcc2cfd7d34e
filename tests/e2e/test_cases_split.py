#!/usr/bin/python3
"""Case 08: the network splits and heals, again and again, with writes on all sides.

The clocks of real processes cannot be set apart honestly: a time namespace shifts the monotonic
clock only. Clock skew under splits is the simulation's (tests/sim)."""

import random
import time

import bridge
from harness import equal, test
from history import Recorder
from workload import Workload

SPLITS = 20
REPAIR_SECONDS = 5
# Shorter than the 3 to 5 s after which a peer is known to be out of reach, and longer.
SPLIT_SECONDS = (0.5, 1, 2, 6)
VALUE_BYTES = 20_000    # so that the backlog overflows in the longest
SETTINGS = (f"--repair-interval={REPAIR_SECONDS}s", "--tombstone-ttl=15s", "--backlog-bytes=1MiB")


def split(cluster, nodes, choose):
    """Cuts some off from the others, in one direction or both, maybe from etcd too. Tells how."""
    some = choose.sample(nodes, choose.randint(1, len(nodes) - 1))
    others = [node for node in nodes if node not in some]
    one_way = choose.random() < 0.3
    if one_way:
        cluster.cut_one_way(some, others)
    else:
        cluster.cut(some, others)
    without_etcd = choose.random() < 0.5
    if without_etcd:
        cluster.cut(some, [cluster.etcd])
    names = "+".join(node.name.removeprefix("podmirror-") for node in some)
    return f"{names} {'not heard' if one_way else 'apart'}{', no etcd' if without_etcd else ''}"


@test(slow=True)
def case_08_twenty_splits_converge(cluster):
    """Twenty splits of five nodes: after each heal, equal digests within one repair interval.
    Nothing that was acknowledged is lost, nothing deleted or expired comes back."""
    nodes = cluster.start(5, *SETTINGS)
    recorder = Recorder(cluster)
    choose = random.Random(8)
    slowest = 0.0
    with Workload(recorder, nodes, size=VALUE_BYTES, timeout="100ms") as workload:
        for _ in range(SPLITS):
            workload.wait_answers(20)
            how = split(cluster, nodes, choose)
            seconds = choose.choice(SPLIT_SECONDS)
            workload.go_on(seconds)
            # Writes stop with the split: only then digests can be expected to become equal.
            workload.pause()
            assert len({node.status()["digest"] for node in nodes}) > 1, "it was no split"
            cluster.heal()
            healed = time.monotonic()
            cluster.wait_same(nodes, 30)
            took = time.monotonic() - healed
            print(f"     {how} for {seconds} s: the same after {took:.1f} s")
            slowest = max(slowest, took)
            workload.resume()
    print(f"     {recorder.summary()}, slowest heal {slowest:.1f} s")
    recorder.check(nodes)
    for node in nodes:
        equal(node.events("dead_dropped"), [], f"{node.name} was never out of contact for so long")
    assert slowest <= REPAIR_SECONDS, f"{slowest:.1f} s"


if __name__ == "__main__":
    bridge.main()
