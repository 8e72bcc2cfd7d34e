#!/usr/bin/python3
"""What signals do: a stop that nobody notices, one that was asked for twice, and a daemon that is
stopped, in whole or in part, and goes on."""

import collections
import ctypes
import os
import signal
import time

import grpc

import harness
import stubs
from harness import GRPC_PORT, NotYet, Rest, Skip, equal, test, wait_for

pb, pb_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")

# The same signal again is nothing within 2 s.
REPEAT_SECONDS = 2
STILL_SECONDS = 5
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"     # grpc.health.v1.HealthCheckResponse
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


def start_alone(cluster, *args):
    node = cluster.node()
    node.start("--discovery=none", "--service=", *args)
    wait_for(lambda: node.get("/readyz").status == 200, 10, "ready")
    return node


def health(channel):
    """What grpc.health.v1 says of the whole server."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    return check(b"", timeout=5)


@test
def drain_delay_changes_nothing_but_readiness(cluster):
    one, two = cluster.start(2, "--drain-delay=5s", "--drain-timeout=20s")
    with grpc.insecure_channel(f"{one.ip}:{GRPC_PORT}",
                               options=[("grpc.enable_http_proxy", 0)]) as channel, \
            Rest(one.ip) as kept:
        equal(kept.request("PUT", "/v1/cache/1/k", b"v").headers["Connection"], None)
        wait_for(lambda: health(channel) == SERVING, 1, "gRPC says that it is ready")
        begin = time.monotonic()
        one.signal(signal.SIGTERM)
        wait_for(lambda: one.get("/readyz").status == 503, 1, "not ready at once")
        wait_for(lambda: health(channel) == NOT_SERVING, 1, "gRPC says so at once")
        state = one.status()
        equal((state["state"], state["ready"], state["reason"]), ("draining", False, "draining"))
        equal(one.metric("podmirror_ready"), 0)
        # Writes are taken, handed on and acknowledged, over REST and gRPC, here and by the others.
        # A client that keeps its connection is asked to leave it.
        answer = kept.request("PUT", "/v1/cache/1/k", b"during")
        equal((answer.status, answer.json()["ack"]["acked"]), (200, 1))
        equal(answer.headers["Connection"], "close")
        item = pb.SetItem(type=1, key="rpc", value=b"during")
        equal(pb_grpc.CacheStub(channel).Set(pb.SetRequest(items=[item]), timeout=5).ack.acked, 1)
        equal(two.put(1, "other", b"during").json()["ack"]["acked"], 1)
        equal([one.value(1, key) for key in ("k", "rpc", "other")], [b"during"] * 3)
        equal(one.get("/healthz").status, 200)

    taken = collections.Counter()

    def refused():
        answer = one.put(1, f"late-{taken[200]}", b"v")
        taken[answer.status] += 1
        return answer.status == 503 and answer.code == "draining"
    wait_for(refused, 10, "writes are refused when the delay is over")
    equal(set(taken), {200, 503})
    assert time.monotonic() - begin >= 5, "writes are refused before the delay is over"
    equal(one.process.wait(10), 0)
    equal([two.value(1, key) for key in ("k", "rpc", "other")], [b"during"] * 3)
    last = taken[200] - 1
    equal([two.value(1, f"late-{number}") for number in (last, last + 1)], [b"v", None])


@test
def delay_leaves_time_to_hand_over(cluster):
    one, two = cluster.start(2, "--drain-delay=2s", "--drain-timeout=2s")
    two.signal(signal.SIGSTOP)
    one.put(1, "k", b"v", ack="local")
    begin = time.monotonic()
    one.signal(signal.SIGTERM)
    wait_for(lambda: one.put(1, "late", b"v", ack="local").status == 503, 5, "the delay is over")
    two.signal(signal.SIGCONT)
    equal(one.process.wait(10), 0)
    assert time.monotonic() - begin < 3, "longer than drain-timeout"
    equal((len(one.events("draining")), two.value(1, "k")), (1, b"v"))


@test
def same_signal_again_changes_nothing(cluster):
    for number in (signal.SIGTERM, signal.SIGINT):
        node = start_alone(cluster, "--drain-delay=1s")
        node.signal(number)
        since = time.monotonic()
        wait_for(lambda: time.monotonic() - since > 0.05, 1, "50 ms")
        node.signal(number)
        equal(node.process.wait(10), 0)
        equal(len(node.events("stopped")), 1)


@test
def same_signal_later_ends_at_once(cluster):
    node = start_alone(cluster, "--drain-delay=30s", "--drain-timeout=60s")
    node.signal(signal.SIGTERM)

    def ends_when_asked_again():
        node.signal(signal.SIGTERM)
        return node.process.poll() is not None
    begin = time.monotonic()
    wait_for(ends_when_asked_again, REPEAT_SECONDS + 5, "the end")
    equal(node.process.returncode, 1)
    assert time.monotonic() - begin > REPEAT_SECONDS - 0.5, "it ended within the 2 s"


@test
def another_signal_ends_at_once(cluster):
    node = start_alone(cluster, "--drain-delay=30s", "--drain-timeout=60s")
    node.signal(signal.SIGTERM)
    wait_for(lambda: node.status()["state"] == "draining", 5, "draining")
    node.signal(signal.SIGINT)
    equal(node.process.wait(10), 1)


@test
def hangup_changes_nothing(cluster):
    node = start_alone(cluster)
    node.signal(signal.SIGHUP)
    equal(node.put(1, "k", b"v").status, 200)
    equal(node.terminate(), 0)


@test(slow=True)
def stopped_process_is_healthy_when_it_goes_on(cluster):
    node = start_alone(cluster)
    node.signal(signal.SIGSTOP)
    time.sleep(STILL_SECONDS + 2)   # so long a stall would be told, if it were one
    node.signal(signal.SIGCONT)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        equal(node.get("/healthz").status, 200)
    equal(node.events("stalled"), [])


class StoppedThread:
    """Stops one thread of a process, by the means of a debugger, and lets it go on."""

    def __init__(self, thread):
        self._libc, self._thread = ctypes.CDLL(None, use_errno=True), thread
        self._call(PTRACE_SEIZE)
        self._call(PTRACE_INTERRUPT)
        os.waitpid(thread, 0x40000000)  # __WALL

    def _call(self, request):
        if self._libc.ptrace(request, self._thread, None, None) != 0:
            raise Skip(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")

    def go_on(self):
        self._call(PTRACE_DETACH)


def thread_of(node, name):
    task = f"/proc/{node.process.pid}/task"
    for thread in os.listdir(task):
        with open(f"{task}/{thread}/comm", encoding="utf-8") as comm:
            if comm.read().strip() == name:
                return int(thread)
    raise AssertionError(f"no thread {name} of {node.name}")


@test(slow=True)
def health_fails_while_the_core_stands_still(cluster):
    node = start_alone(cluster)
    begin = time.monotonic()
    stopped = StoppedThread(thread_of(node, "ticker"))

    def fails():
        answer = node.get("/healthz")
        if answer.status == 200:
            raise NotYet("healthy")
        return answer
    answer = wait_for(fails, STILL_SECONDS + 5, "/healthz fails")
    assert time.monotonic() - begin >= STILL_SECONDS, "too early"
    equal(answer.status, 503)
    assert "stood still" in answer.json()["detail"], answer.body
    wait_for(lambda: node.events("stalled"), 5, "the log says so")
    stopped.go_on()
    wait_for(lambda: node.get("/healthz").status == 200, 5, "healthy again")


if __name__ == "__main__":
    harness.main()
