#!/usr/bin/python3
"""Case 06: a large cache, large values, and a peer that has stopped.

300 MB instead of the 1 GB of the field: four daemons hold it at the same time, and the machine of a
test may be small. Nothing in the daemon depends on it but the time that a copy takes."""

import signal

import bridge
from harness import Rest, equal, test
from history import Recorder

MIB = 1 << 20
MANY, MANY_BYTES = 270, MIB         # values
HUGE, HUGE_BYTES = 4, 8 * MIB       # more than gRPC takes by default
BACKLOG_MIB = 32
GROWTH_BYTES = (BACKLOG_MIB + 64) * MIB


def write_all(recorder, node, round_, **query):
    """Every key once; each value is its own. Yields after each write."""
    with Rest(node.ip, timeout=30) as rest:
        for prefix, count, size in (("many", MANY, MANY_BYTES), ("huge", HUGE, HUGE_BYTES)):
            for number in range(count):
                value = f"{round_} {number} ".encode().ljust(size, b".")
                answer = recorder.put(node, 1, f"{prefix}-{number}", value, rest, **query)
                assert answer.status in (200, 202), answer
                yield


@test(slow=True)
def case_06_stopped_peer_of_a_large_cache_heals(cluster):
    """While a peer is stopped, the others overwrite all that they hold: their memory grows by the
    backlog and little more. The peer heals without a copy of everything, and a joiner takes values
    larger than a message was once allowed to be."""
    nodes = cluster.start(3, "--max-value-bytes=16MiB", f"--backlog-bytes={BACKLOG_MIB}MiB")
    one, two, three = nodes
    recorder = Recorder(cluster)
    for _ in write_all(recorder, one, 0, timeout="10s"):
        pass
    # The backlog of each is full before the measurement, so that it does not count as growth.
    for _ in write_all(recorder, two, 1, timeout="10s"):
        pass
    cluster.wait_same(nodes, 30)
    before = {node: node.rss() for node in nodes}

    three.signal(signal.SIGSTOP)
    most = dict(before)
    for round_ in (2, 3):
        for _ in zip(write_all(recorder, one, round_, ack="local"),
                     write_all(recorder, two, f"too {round_}", ack="local")):
            most = {node: max(most[node], node.rss()) for node in nodes}
    three.signal(signal.SIGCONT)
    cluster.wait_same(nodes, 60)
    most = {node: max(most[node], node.rss()) for node in nodes}
    for node in nodes:
        print(f"     {node.name}: {before[node] // MIB} MiB, {most[node] // MIB} MiB at most")
    for node in nodes:
        grown = most[node] - before[node]
        assert grown <= GROWTH_BYTES, f"{node.name} grew by {grown // MIB} MiB"
        assert len(node.events("bootstrap_done")) == 1, f"{node.name} copied everything again"

    four = cluster.node()
    four.write_record()
    four.start("--max-value-bytes=16MiB")
    recorder.wait_ready(four, 60)
    four.wait_peer(three.name, "streaming", 20)
    print(f"     copied {four.status()['bootstrap']['bytes'] // MIB} MiB "
          f"in {four.status()['bootstrap']['ms']} ms")
    equal(recorder.check([*nodes, four], 30)["entries"], MANY + HUGE)


if __name__ == "__main__":
    bridge.main()
