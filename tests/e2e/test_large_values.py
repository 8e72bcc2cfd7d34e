#!/usr/bin/python3
"""Large values over a line of 1 Mbit/s with 300 ms there and back: they arrive, nothing is behind
them for longer than a fragment takes, and who was cut off goes on where it was."""

import time

import bridge
from harness import entry_path, equal, test, wait_for

LINE = {"bits_per_second": 1_000_000, "delay": 0.15}
LIMIT = "--max-value-bytes=48MiB"
# A fragment in front, one's own way there and back, and twice that for a busy machine.
SMALL_SECONDS = 6


def start_behind_the_line(cluster, first, number=2):
    """One more node, whose record is there, and which takes writes."""
    node = cluster.node(number)
    way = cluster.slow_way(node, **LINE)
    node.write_record()
    node.start(LIMIT)
    wait_for(lambda: first.peer(node.name)["state"] in ("streaming", "repairing"), 20, "connected")
    return node, way


def version(node, key):
    """That of a value, without reading it over the line."""
    answer = node.request("HEAD", entry_path(1, key))
    return answer.headers["ETag"] if answer.status == 200 else None


def put_small(node, number):
    """A write that all have to acknowledge; how long that took."""
    began = time.monotonic()
    answer = node.request("PUT", entry_path(1, f"small-{number}", ack="all", timeout="9s"), b"x",
                          timeout=15)
    equal(answer.status, 200, f"small write {number} while a large one is on its way")
    return time.monotonic() - began


@test(slow=True)
def a_large_write_arrives_and_small_ones_pass_it(cluster):
    """It is cut off in the middle, too: then it goes on, and does not begin anew."""
    one, = cluster.start(1, LIMIT)
    two, way = start_behind_the_line(cluster, one)
    two.wait_ready(30)
    one.wait_peer(two.name, "streaming")
    size = 3 << 20
    carried = way.carried[1]
    equal(one.put(1, "large", b"l" * size, ack="local").status, 200)

    def write_until(share):
        """Small writes, until so much of the large one has gone over the line."""
        while way.carried[1] - carried < share * size:
            times.append(put_small(one, len(times)))
    times = []
    write_until(0.3)
    cluster.cut([one], [two])
    one.wait_peer(two.name, "connecting", 10)
    cluster.heal()
    one.wait_peer(two.name, "streaming", 20)
    write_until(0.8)
    wait_for(lambda: version(two, "large") == version(one, "large"), 60, "the large value there")
    print(f"     {len(times)} small writes, {max(times):.1f} s at most")
    assert max(times) < SMALL_SECONDS, f"a small write took {max(times):.1f} s"
    share = (way.carried[1] - carried) / size
    print(f"     {share:.2f} times its size went over the line")
    assert share < 1.4, f"{share:.2f} times the value's size went over the line"
    equal(len(one.events("peer_lost")), 1, "links lost")
    cluster.wait_same([one, two], 20)


@test(slow=True)
def a_joiner_gets_a_large_value(cluster):
    one, = cluster.start(1, LIMIT)
    size = 2 << 20
    equal(one.put(1, "large", b"l" * size).status, 200)
    two, _ = start_behind_the_line(cluster, one)
    times = []
    while two.get("/readyz").status != 200:
        answer = one.put(1, f"small-{len(times)}", b"x", ack="all", timeout="9s")
        equal(answer.status, 200, "a small write during the join")
        times.append(answer)
        assert len(times) < 200, "the joiner does not become ready"
    equal(version(two, "large"), version(one, "large"))
    equal(one.events("peer_lost") + two.events("peer_lost"), [], "links lost")


if __name__ == "__main__":
    bridge.main()
