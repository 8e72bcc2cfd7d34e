#!/usr/bin/python3
"""Twenty thousand writes a second at three daemons, and five hundred watchers of one of them:
most read all, some never read, some come back all the time. PODMIRROR_STORM_SECONDS says for how
long, 10 by itself; what wall time has a part in is told, and not judged."""

import json
import os
import pathlib
import statistics
import subprocess
import threading
import time
import zlib

import harness
from harness import REST_PORT, ROOT, NotYet, Rest, Skip, equal, test, wait_for
from watching import listing
from workload import Background, Stopwatch

WATCHERS = pathlib.Path(os.environ.get("PODMIRROR_WATCHERS",
                                       ROOT / "build/tests/bench/load/watchers"))
SECONDS = float(os.environ.get("PODMIRROR_STORM_SECONDS", "10"))
WRITES_A_SECOND = 20_000    # at all daemons together
BATCH = 200
KEYS = 1000                 # of each writer
ALL, NEVER, RETURNING = 400, 50, 50
MOST_GROWTH = 64 << 20


class Crowd:
    """The program that watches."""

    def __init__(self, cluster, node):
        if not WATCHERS.exists():
            raise Skip(f"{WATCHERS} is not built")
        # Those who watch are on other machines: the daemons' processors are not theirs.
        command = ["nice", "-n", "10", WATCHERS, f"{node.ip}:{REST_PORT}", f"--readers={ALL}",
                   f"--idle={NEVER}", f"--returning={RETURNING}"]
        self._process = cluster.spawn(command, node.ip, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)

    def ask(self, what):
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def report(self):
        return self.ask("report")

    def wait_all_have(self, entries, seconds):
        """Until all who read have what is listed, and are told that it is complete."""
        expected = {f"{type_}/{key}": [version, zlib.crc32(value.encode())]
                    for (type_, key), (value, version) in entries.items()}

        def same():
            report = self.report()
            if report["contents"] != 1 or report["synced"] < ALL:
                raise NotYet(str(report))
            return self.ask("content") == expected
        wait_for(same, seconds, "all who watch have what the daemon has")

    def close(self):
        self._process.stdin.close()
        self._process.wait(20)


class Writer(Background):
    """Batches of puts, and of a few deletes, at a rate; each writer has keys of its own and some
    that all of them write."""

    def __init__(self, node, number, rate):
        super().__init__()
        self._node, self._number, self._rate = node, number, rate
        self.count = 0

    def _work(self):
        with Rest(self._node.ip, timeout=60) as rest:
            begin = time.monotonic()
            while not self._over.wait(max(0, begin + self.count / self._rate - time.monotonic())):
                answer = rest.request("POST", "/v1/cache?ack=local", self._body())
                assert answer.status in (200, 202), answer
                self.count += BATCH

    def _body(self):
        data, shared, gone = {}, {}, []
        for i in range(self.count, self.count + BATCH):
            key = f"k-{self._number}-{i % KEYS}"
            if i % 20 == 7:
                gone.append(key)
            elif i % 10 == 3:
                shared[f"shared-{i * 7 % KEYS}"] = f"{self._number} {i}"
            else:
                data[key] = f"{i:060d}"
        return json.dumps({"data": [{"type": 1, "data": data}, {"type": 2, "data": shared}],
                           "delete": [{"type": 1, "keys": gone}]})


class Memory(threading.Thread):
    """The most that each daemon has taken while this runs."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self._nodes, self._over = nodes, threading.Event()
        self.most = [0] * len(nodes)
        self.start()

    def run(self):
        while not self._over.wait(0.2):
            self.most = [max(most, node.rss()) for most, node in zip(self.most, self._nodes)]

    def stop(self):
        self._over.set()
        self.join()
        return self.most


def storm(nodes, seconds):
    """Writes at all of them. Returns the most memory of each, and the 99th percentile of a put
    beside it, in milliseconds."""
    memory = Memory(nodes)

    def put(rest, number):
        equal(rest.request("PUT", f"/v1/cache/3/single-{number % 100}", b"v").status, 200)
    writers = [Writer(node, number, WRITES_A_SECOND / len(nodes))
               for number, node in enumerate(nodes)]
    begin = time.monotonic()
    with writers[0], writers[1], writers[2], Stopwatch(nodes[0], put) as watch:
        wait_for(lambda: time.monotonic() > begin + seconds, seconds + 60, "the storm is over")
        written = sum(writer.count for writer in writers)
        taken = time.monotonic() - begin
    p99 = statistics.quantiles(watch.seconds, n=100)[98] * 1000
    print(f"     {written / taken:.0f} writes a second, a put beside them {p99:.1f} ms (99 %)")
    return memory.stop(), p99


@test(slow=True)
def many_watch_a_storm_of_writes(cluster):
    # Who falls behind by this log is told the state anew.
    nodes = cluster.start(3, "--backlog-bytes=16MiB", "--change-log-bytes=4MiB", "--ack=local")
    watched = nodes[1]
    # What the data, the backlog and the log of changes take is there before anybody watches.
    before, quiet = storm(nodes, SECONDS)
    crowd = Crowd(cluster, watched)
    wait_for(lambda: crowd.report()["synced"] >= ALL, 60, "all watch")
    during, busy = storm(nodes, SECONDS)
    growth = [after - earlier for earlier, after in zip(before, during)]
    print(f"     with {ALL + NEVER + RETURNING} watchers a put took {busy / quiet:.1f} times as "
          f"long; memory grew by {growth[1] / 2**20:.0f} MiB, that of the others by "
          f"{growth[0] / 2**20:.0f} and {growth[2] / 2**20:.0f}")
    cluster.wait_same(nodes, 60)
    crowd.wait_all_have(listing(watched), 180)
    report = crowd.report()
    print(f"     {report}")
    crowd.close()
    equal(report["errors"], [], "what was wrong with the events")
    equal(report["cut"], 0, "readers that were cut")
    assert report["connects"] > ALL + NEVER + 2 * RETURNING, report
    assert growth[1] < MOST_GROWTH, f"{growth[1] / 2**20:.0f} MiB"


if __name__ == "__main__":
    harness.main()
