#!/usr/bin/python3
"""Cases 01, 02, 05 and 07 of the ten failures from the field: how pods come into being."""

import random
import threading
import time

import bridge
from harness import NotYet, equal, test, wait_for
from history import Recorder
from workload import Stopwatch, Workload

PODS_AT_ONCE = (2, 5, 12)
START_SKEW_SECONDS = 1.5
COPIED_ENTRIES, COPIED_BYTES = 25_000, 1000     # of each
CHUNK_BYTES = 1 << 20                           # of a copy; its progress shows no finer steps
COPY_BITS_PER_SECOND = 20_000_000
JOINERS = 10


def start_at_once(nodes, choose):
    """Their records first, as a kubelet writes them, then the daemons, each at its own moment."""
    for node in nodes:
        # What the record says of a pod that starts may still be that of its last run.
        node.write_record(ready=choose.random() < 0.3)
    def start(delay, node):
        wait_for(lambda: time.monotonic() > begin + delay, 30, "its moment")
        node.start()
    begin = time.monotonic()
    threads = [threading.Thread(target=start, args=(choose.uniform(0, START_SKEW_SECONDS), node))
               for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


@test
def case_01_pods_that_start_together_make_one_set(cluster):
    """2..12 at once, with a skew, records Ready or not: one set, and exactly one was first."""
    cluster.etcd.start()
    choose = random.Random(1)
    for count in PODS_AT_ONCE:
        recorder = Recorder(cluster)
        nodes = [cluster.node() for _ in range(count)]
        begin = time.monotonic()
        start_at_once(nodes, choose)
        for node in nodes:
            recorder.wait_ready(node, 40)
        print(f"     {count} ready after {time.monotonic() - begin:.1f} s")
        cluster.wait_streaming(nodes, 20)
        done = [(node.name, event["how"]) for node in nodes
                for event in node.events("bootstrap_done")]
        equal(len(done), count, "each was synced once")
        equal([how for _, how in done].count("first"), 1, f"how each was synced: {done}")
        for node in nodes:
            equal(len(node.peers()), count - 1, f"peers of {node.name}")
            answer = recorder.put(node, 1, f"of-{node.name}", node.name.encode())
            equal(answer.json()["ack"]["acked"], count - 1, f"acknowledgements for {node.name}")
        equal(recorder.check(nodes)["entries"], count)
        for node in nodes:
            node.kill()
            node.delete_record()


@test
def case_02_restarted_oldest_is_no_donor(cluster):
    """The oldest container is killed in place: its record still says the old start and Ready, but
    it is empty. Nobody may copy from it, whoever joins meanwhile."""
    one, two, three = cluster.start(3)
    recorder = Recorder(cluster)
    recorder.load(one, 20_000)
    before = cluster.wait_same([one, two, three])
    four, five = cluster.node(), cluster.node()
    with Workload(recorder, [two, three]) as workload:
        workload.wait_answers(20)
        recorder.kill(one)
        for node in (four, five):
            node.write_record()
        for node in (one, four, five):
            node.start()
        for node in (one, four, five):
            recorder.wait_ready(node)
        workload.wait_answers(20)
    print(f"     {recorder.summary()}")
    after = recorder.check([one, two, three, four, five])
    assert after["entries"] >= before["entries"] == 20_000, after
    assert one.status()["bootstrap"]["donor"] in (two.name, three.name), one.status()
    for node in (four, five):
        assert node.status()["bootstrap"]["entries"] >= 20_000, node.status()


@test(slow=True)
def case_05_donor_dies_during_the_copy(cluster):
    """The donor is slow and dies at 10, 50 and 99 %: the joiner is never ready early and always
    ready in the end, with another donor."""
    nodes = cluster.start(3)
    recorder = Recorder(cluster)
    recorder.load(nodes[0], COPIED_ENTRIES, size=COPIED_BYTES)
    total = cluster.wait_same(nodes, 30)["bytes"]
    for part in (0.10, 0.50, 0.99):
        wanted = min(part * total, total - 1.5 * CHUNK_BYTES)
        for node in nodes:
            cluster.slow_down(node, COPY_BITS_PER_SECOND)
        joiner = cluster.node()
        joiner.write_record()
        joiner.start()

        def copied():
            status = joiner.status()
            assert not status["ready"], f"ready before the donor died: {status}"
            if status["bootstrap"]["bytes"] < wanted:
                raise NotYet(str(status["bootstrap"]))
            return status["bootstrap"]
        seen = wait_for(copied, 30, f"{part:.0%} of the copy")
        donor = cluster.find(seen["donor"])
        recorder.kill(donor)
        equal(joiner.get("/readyz").status, 503, "readyz")
        print(f"     {donor.name} killed with {seen['bytes'] / total:.1%} copied")
        donor.write_record(ready=False)
        others = [node for node in nodes if node is not donor]
        # They are slow as well: a joiner that said so too early could not make it true in no time.
        recorder.wait_ready(joiner, 60)
        for node in others:
            cluster.slow_down(node, None)
        took_over = joiner.status()["bootstrap"]["donor"]
        assert took_over in [node.name for node in others], took_over
        donor.delete_record()
        nodes = [*others, joiner]
        equal(recorder.check(nodes)["entries"], COPIED_ENTRIES)


@test(slow=True)
def case_07_wave_of_joiners_does_not_crush_the_donor(cluster):
    """Ten pods join at once a set that holds 60,000 entries: all become ready, and a write to the
    donor takes no longer than three times what it took before."""
    nodes = cluster.start(2)
    recorder = Recorder(cluster)
    recorder.load(nodes[0], 60_000, size=500, at_once=5000)
    cluster.wait_same(nodes, 30)

    def put(rest, number):
        recorder.put(nodes[0], 9, f"k-{number % 100}", b"x" * 100, rest, ack="local")
    with Stopwatch(nodes[0], put) as before:
        wait_for(lambda: len(before.seconds) >= 500, 30, "500 writes before")
    joiners = [cluster.node() for _ in range(JOINERS)]
    with Stopwatch(nodes[0], put) as during:
        for joiner in joiners:
            joiner.write_record()
            # Elsewhere they have machines of their own: what they do with what they are given
            # must not take this one from the donor.
            joiner.prefix = ["nice", "-n", "19"]
            joiner.start()
        for joiner in joiners:
            joiner.wait_ready(90)
    print(f"     {len(during.seconds)} writes while {JOINERS} joined")
    equal(set(recorder.answers), {200}, "answers to writes")
    during.check_within(3, before)
    recorder.check([*nodes, *joiners], 40)


if __name__ == "__main__":
    bridge.main()
