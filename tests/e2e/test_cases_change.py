#!/usr/bin/python3
"""Cases 03, 04 and 10 of the ten failures from the field: pods that come, go and take each other's
places."""

import bridge
from harness import equal, test, wait_for
from history import Recorder
from workload import Workload

REPLACED_PODS = 4
# More than one batch, so that not all of it is under way already: two seconds' worth to four pods.
DRAINED_WRITES, DRAINED_BYTES = 40, 80_000
DRAIN_BITS_PER_SECOND = 60_000_000
CHURN_ENTRIES, CHURN_BYTES = 15_000, 1000
CHURN_BITS_PER_SECOND = 60_000_000


def leave(node):
    """As Kubernetes does it: SIGTERM, and the record goes when the process is gone."""
    equal(node.terminate(), 0, f"exit code of {node.name}")
    node.delete_record()


@test(slow=True)
def case_03_rolling_replacement_loses_nothing(cluster):
    """Every pod is replaced by one at another address while clients write to all of them. A pod
    that drains hands over all that it has accepted, whatever was asked of the others."""
    running = cluster.start(REPLACED_PODS)
    recorder = Recorder(cluster)
    recorder.load(running[0], 5000)
    with Workload(recorder, running, keys=2000) as workload, \
            Workload(recorder, running, keys=2000, type_=8, seed=2, ack="local") as local:
        for _ in range(REPLACED_PODS):
            leaving = running.pop(0)
            fresh = cluster.node()
            fresh.write_record()
            fresh.start()
            recorder.wait_ready(fresh)
            running.append(fresh)
            for clients in (workload, local):
                clients.add(fresh)
            workload.wait_answers(30)
            # What only it holds when the signal comes, and its clients are still there.
            cluster.slow_down(leaving, DRAIN_BITS_PER_SECOND)
            values = {f"{leaving.name}-{number}": "v" * DRAINED_BYTES
                      for number in range(DRAINED_WRITES)}
            equal(recorder.batch(leaving, 5, values, ack="local").status, 200)
            leave(leaving)
            for clients in (workload, local):
                clients.remove(leaving)
    print(f"     {recorder.summary()}")
    status = recorder.check(running)
    assert status["entries"] >= 5000 + REPLACED_PODS * DRAINED_WRITES, status


@test
def case_04_reused_address_does_not_merge_clusters(cluster):
    """A pod of another release takes the IP and the port of one that died and is still listed. It
    is refused, and no entry crosses, whoever dials."""
    one, two, three = cluster.start(3)
    recorder = Recorder(cluster)
    recorder.load(one, 1000)
    cluster.wait_same([one, two, three])
    recorder.kill(three)

    others = [cluster.node(number=three.number, name="other-0"),
              cluster.node(name="other-1")]
    for other in others:
        other.start("--service=other")
    for other in others:
        other.write_record()
    for other in others:
        other.wait_ready()
    theirs = Recorder(cluster)
    theirs.batch(others[0], 1, {"k-1": "of the other release", "theirs": "too"})
    theirs.delete(others[0], 1, "k-2")
    # One more of them believes that it belongs to our pods.
    lost_way = cluster.node(name="other-2")
    lost_way.start("--service=", "--etcd-endpoints=", "--discovery=static",
                   f"--peers={one.ip}:7070,{others[0].ip}:7070", "--cluster=default/other",
                   "--bootstrap-timeout=1s")
    lost_way.wait_ready()

    for node in (one, two):
        peer = node.wait_peer(three.name, "refused")
        assert "default/other" in peer["error"], peer
        equal([event["peer"] for event in node.events("peer_refused")], [three.name], node.name)
        # Who is of another cluster is no peer: no acknowledgement counts it.
        answer = recorder.put(node, 1, f"after-{node.name}", b"v")
        equal((answer.status, answer.json()["ack"]["peers"]), (200, 1))
        equal(answer.json()["ack"]["pending"], [])
    equal([peer["state"] for peer in lost_way.peers() if peer["address"].startswith(f"{one.ip}:")],
          ["refused"])
    equal(recorder.check([one, two])["entries"], 1002)
    equal(theirs.check([*others, lost_way])["entries"], 2)

    # A pod of our own takes the address instead: another UID under the same name of the cluster is
    # not the peer that the record names, until its own record says who it is.
    others[0].kill()
    heir = cluster.node(number=three.number, name="podmirror-heir")
    heir.start()
    wait_for(lambda: "UID" in one.peer(three.name)["error"], 10, "refused for its UID")
    heir.write_record()
    three.delete_record()
    recorder.wait_ready(heir)
    equal(recorder.check([one, two, heir])["entries"], 1002)


class Churn:
    """Pods that join and leave while others copy."""

    def __init__(self, cluster, recorder, nodes):
        self.cluster, self.recorder = cluster, recorder
        self.nodes = nodes  # those that are to be there in the end

    def join(self):
        node = self.cluster.node()
        node.write_record()
        node.start()
        self.cluster.slow_down(node, CHURN_BITS_PER_SECOND)
        self.nodes.append(node)
        return node

    def die(self, node):
        """Killed, and its record taken away: a pod whose node was lost."""
        self.recorder.kill(node)
        node.delete_record()
        self.nodes.remove(node)

    def go(self, node):
        leave(node)
        self.nodes.remove(node)


def bytes_copied(node):
    return node.status()["bootstrap"]["bytes"]


@test(slow=True)
def case_10_churn_during_copies_ends(cluster):
    """Pods join while others join, and leave in every phase: before they are heard of, while they
    copy, while they are copied from, when they have just become ready. Nothing waits for ever:
    those that are left are ready and the same."""
    recorder = Recorder(cluster)
    donors = cluster.start(3)
    recorder.load(donors[0], CHURN_ENTRIES, size=CHURN_BYTES)
    total = cluster.wait_same(donors, 30)["bytes"]
    churn = Churn(cluster, recorder, donors)
    for node in churn.nodes:
        cluster.slow_down(node, CHURN_BITS_PER_SECOND)

    with Workload(recorder, churn.nodes) as workload:
        unheard, second, _ = [churn.join() for _ in range(3)]
        churn.die(unheard)
        copying = churn.join()
        wait_for(lambda: bytes_copied(copying) > total / 4, 30, "a quarter of a copy")
        late = churn.join()
        churn.die(copying)
        wait_for(lambda: bytes_copied(late) > 0, 30, "a copy begun")
        donor = cluster.find(late.status()["bootstrap"]["donor"])
        workload.remove(donor)
        churn.go(donor)
        leaving = churn.join()
        wait_for(lambda: bytes_copied(leaving) > 0, 30, "a copy begun")
        churn.go(leaving)
        for node in churn.nodes:
            cluster.slow_down(node, None)
        for node in churn.nodes:
            recorder.wait_ready(node, 60)
        churn.die(second)
        last = churn.join()
        recorder.wait_ready(last, 40)
        cluster.slow_down(last, None)
        workload.wait_answers(20)
    print(f"     {recorder.summary()}, {len(churn.nodes)} of {len(cluster.nodes)} pods left")
    recorder.check(churn.nodes, 30)
    cluster.wait_streaming(churn.nodes)
    for node in churn.nodes:
        equal(len(node.peers()), len(churn.nodes) - 1, f"peers of {node.name}")


if __name__ == "__main__":
    bridge.main()
