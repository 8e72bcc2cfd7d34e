#!/usr/bin/python3
"""A log that nobody reads: the daemon works on, says what is missing, and ends in time."""

import fcntl
import os
import signal
import sys
import time

import harness
from harness import NotYet, equal, test, wait_for

COPY = ("import os, sys\n"
        "while data := os.read(0, 65536): os.write(1, data)")
# A record that cannot be read is logged with the first 512 bytes of its key, five characters for
# one that is not printable: so many fill a small pipe and the daemon's own queue of 1 MiB.
KEY_BYTES, RECORDS = 500, 500
PIPE_BYTES = 4096
DRAIN_SECONDS = 5


class PipedNode(harness.Node):
    """A daemon whose log goes through a pipe, to a process that may be stopped."""

    def start(self, *args):
        into, out = os.pipe()
        fcntl.fcntl(out, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        with open(self.log_file, "ab") as log:
            self.reader = self.cluster.spawn([sys.executable, "-c", COPY], self.ip, stdin=into,
                                             stdout=log)
            self.process = self.cluster.spawn(self.command(*args), self.ip, env=self.env(),
                                              stdout=out, stderr=log)
        os.close(into)
        os.close(out)

    def dropped(self):
        return self.metric("podmirror_log_dropped_total")


def start_one(cluster):
    cluster.etcd.start()
    one = PipedNode(cluster, 1)
    cluster.nodes.append(one)
    one.write_record()
    one.start(f"--drain-timeout={DRAIN_SECONDS}s")
    one.wait_ready()
    return one


def fill_log(node):
    """Stops the reader of its log, then lets it log more than anything holds."""
    node.reader.send_signal(signal.SIGSTOP)
    before = node.dropped()
    for i in range(RECORDS):
        node.cluster.etcd.put(f"/registry/pods/default/{i}-" + "\x01" * KEY_BYTES, b"garbage")
    wait_for(lambda: node.dropped() > before, 10, "lines are dropped, and counted")


@test
def log_that_nobody_reads_holds_up_nothing(cluster):
    one = start_one(cluster)
    fill_log(one)
    # Discovery goes on, links open, writes are acknowledged over them.
    two = cluster.node()
    two.write_record()
    two.start()
    two.wait_ready()
    cluster.wait_streaming([one, two])
    equal(one.put(1, "k", b"v").json()["ack"]["acked"], 1)
    equal(two.put(1, "l", b"w").json()["ack"]["acked"], 1)
    equal((one.get("/healthz").status, one.get("/readyz").status), (200, 200))

    one.reader.send_signal(signal.SIGCONT)

    def said():
        lost = [line["lines"] for line in one.events("log_dropped")]
        if not lost:
            raise NotYet("nothing said")
        return sum(lost)
    equal(wait_for(said, 10, "the log says that lines are missing"), one.dropped())
    wait_for(lambda: any(line["peer"] == two.name for line in one.events("peer_connected")), 10,
             "what came last is in the log")


@test
def log_that_nobody_reads_does_not_hold_up_the_end(cluster):
    one = start_one(cluster)
    fill_log(one)
    begin = time.monotonic()
    equal(one.terminate(), 0)
    seconds = time.monotonic() - begin
    assert seconds < DRAIN_SECONDS, f"{seconds:.1f} s with a drain-timeout of {DRAIN_SECONDS} s"


if __name__ == "__main__":
    harness.main()
