#!/usr/bin/python3
"""Nodes that die, come back, join and leave, while others read and write."""

import signal
import time

import harness
from harness import equal, load, test, wait_for
from workload import Writer


@test
def three_nodes_hold_the_same(cluster):
    nodes = cluster.start(3)
    answer = nodes[0].put(1, "k", b"v")
    equal(answer.status, 200)
    equal(answer.json()["ack"], {"required": "all", "peers": 2, "acked": 2, "pending": []})
    equal([node.value(1, "k") for node in nodes], [b"v"] * 3)
    for node in nodes:
        others = [other.name for other in nodes if other is not node]
        equal([peer["name"] for peer in node.peers()], others, f"peers of {node.name}")
        equal({peer["protocol"] for peer in node.peers()}, {"podmirror.v1"})
    cluster.wait_same(nodes)
    equal(nodes[2].delete(1, "k").status, 200)
    equal([node.value(1, "k") for node in nodes], [None] * 3)
    state = cluster.wait_same(nodes)
    equal((state["entries"], state["tombstones"]), (0, 1))


@test
def expiry_is_the_same_everywhere(cluster):
    nodes = cluster.start(3)
    equal(nodes[0].put(1, "k", b"v", ttl="700ms").status, 200)
    for node in nodes:
        left = int(node.get("/v1/cache/1/k").headers["Podmirror-Ttl-Ms"])
        assert 0 < left <= 700, left
    for node in nodes:
        wait_for(lambda: node.value(1, "k") is None, 3, f"expired on {node.name}")
    cluster.wait_same(nodes)


@test
def killed_oldest_comes_back_with_everything(cluster):
    one, two, three = cluster.start(3)
    load(one, 5000)
    one.delete(1, "k-17")
    before = cluster.wait_same([one, two, three])
    one.kill()
    # The kubelet starts it again at once; its record still says Ready and the old start.
    one.start()
    one.wait_ready()
    equal(one.value(1, "k-4999"), b"%0100d" % 4999)
    equal(one.value(1, "k-17"), None)
    after = cluster.wait_same([one, two, three])
    equal((after["digest"], after["entries"]), (before["digest"], 4999))

    bootstrap = one.status()["bootstrap"]
    equal(bootstrap["donor"], two.name)
    assert bootstrap["entries"] >= 4999, bootstrap
    done = one.events("bootstrap_done")[-1]
    assert two.name in str(done), done
    one.restart_record()
    one.write_record(ready=True)
    wait_for(lambda: [peer["name"] for peer in two.peers()] == [three.name, one.name], 5,
             "the restarted one is the youngest now")
    equal(one.put(1, "again", b"v").json()["ack"]["acked"], 2)


@test
def every_node_killed_in_turn_loses_nothing(cluster):
    nodes = cluster.start(3)
    load(nodes[0], 1000)
    before = cluster.wait_same(nodes)
    for node in nodes:
        node.kill()
        node.start()
        node.restart_record()
        node.wait_ready()
        after = cluster.wait_same(nodes)
        equal((after["digest"], after["entries"]), (before["digest"], 1000), node.name)


@test(slow=True)
def fourth_node_is_found_and_copies_100000_entries(cluster):
    nodes = cluster.start(3)
    load(nodes[0], 100_000)
    before = cluster.wait_same(nodes, seconds=30)
    equal(before["entries"], 100_000)
    four = cluster.node()
    four.write_record()
    written = time.monotonic()
    for node in nodes:
        wait_for(lambda: node.peer(four.name), 1, f"{node.name} sees the new record")
    print(f"     found by all within {time.monotonic() - written:.2f} s")
    four.start()
    four.wait_ready()
    equal(four.status()["entries"], 100_000)
    equal(cluster.wait_same([*nodes, four])["digest"], before["digest"])
    bootstrap = four.status()["bootstrap"]
    equal((bootstrap["donor"], bootstrap["entries"]), (nodes[0].name, 100_000))
    print(f"     copied 100000 entries in {bootstrap['ms']} ms")

    four.delete_record()
    for node in nodes:
        wait_for(lambda: node.peer(four.name) is None, 2, f"{four.name} gone from {node.name}")
        wait_for(lambda: node.events("peer_removed"), 2, "the log says so")
        equal(len(node.events("peer_removed")), 1)


@test(slow=True)
def writes_during_a_join_are_not_missing(cluster):
    nodes = cluster.start(3)
    load(nodes[0], 50_000)
    with Writer(nodes[0], 9) as first, Writer(nodes[1], 10, ack="local") as second:
        wait_for(lambda: first.count > 500 and second.count > 500, 20, "writes under way")
        four = cluster.node()
        four.write_record()
        four.start()
        four.wait_ready()
        equal(four.get("/readyz").status, 200)
        ready_at = first.count
        wait_for(lambda: first.count > ready_at + 500, 20, "writes after the join")
    print(f"     {first.count} + {second.count} writes, slowest {first.slowest * 1000:.0f} ms")
    # 202 while the joiner is listed and does not answer yet.
    assert set(first.answers) <= {200, 202}, first.answers
    equal(set(second.answers), {200}, "answers to the writer with ack=local")
    assert max(first.slowest, second.slowest) < 1.5, "a write waited for longer than its timeout"
    state = cluster.wait_same([*nodes, four])
    equal(state["entries"], 50_000 + first.count + second.count)
    equal(four.value(9, f"w-{first.count - 1}"), b"x" * 100)


@test
def terminated_node_hands_over_and_exits_clean(cluster):
    one, two, three = cluster.start(3)
    # Only node 1 has it when the signal comes.
    two.signal(signal.SIGSTOP)
    three.signal(signal.SIGSTOP)
    for i in range(200):
        one.put(1, f"k-{i}", b"v" * 1000, ack="local")
    one.signal(signal.SIGTERM)
    wait_for(lambda: one.get("/readyz").status == 503, 5, "not ready while draining")
    equal(one.put(1, "late", b"v").code, "draining")
    equal(one.value(1, "k-0"), b"v" * 1000)
    two.signal(signal.SIGCONT)
    three.signal(signal.SIGCONT)
    equal(one.process.wait(20), 0)
    one.delete_record()
    state = cluster.wait_same([two, three])
    equal((state["entries"], two.value(1, "late")), (200, None))
    events = [line.get("event") for line in one.log()]
    assert "draining" in events and "stopped" in events, events


if __name__ == "__main__":
    harness.main()
