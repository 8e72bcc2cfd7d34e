#!/usr/bin/python3
"""What clients see while a daemon stops: every write that was applied is answered, every other one
refused before anything was applied."""

import concurrent.futures
import signal
import socket
import threading
import time

import grpc

import harness
import stubs
from harness import GRPC_PORT, equal, test, wait_for

pb, pb_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")

WRITE_INTERVAL = 0.01


def stub_of(node):
    channel = grpc.insecure_channel(f"{node.ip}:{GRPC_PORT}",
                                    options=[("grpc.enable_http_proxy", 0)])
    return pb_grpc.CacheStub(channel)


def set_request(key, **options):
    return pb.SetRequest(items=[pb.SetItem(type=1, key=key, value=b"v")],
                         options=pb.WriteOptions(**options))


class Writer(threading.Thread):
    """Writes again and again, with a pause in between, until a write fails: others would go to
    another daemon then."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self._stub = stub_of(node)
        self.written = 0
        self.failed = None      # code and text

    def run(self):
        while True:
            try:
                self._stub.Set(set_request("k", ack=pb.ACK_LEVEL_LOCAL), timeout=5)
            except grpc.RpcError as error:
                self.failed = (error.code(), error.details())
                return
            self.written += 1
            time.sleep(WRITE_INTERVAL)


@test
def writes_are_refused_before_the_ports_close(cluster):
    node = cluster.node()
    node.start("--discovery=none", "--service=")    # nobody to hand over to: it could go at once
    wait_for(lambda: node.get("/readyz").status == 200, 10, "ready")
    writers = [Writer(node) for _ in range(8)]
    for writer in writers:
        writer.start()
    wait_for(lambda: all(writer.written > 3 for writer in writers), 10, "writes")
    equal(node.terminate(), 0)
    for writer in writers:
        writer.join(10)
        equal(writer.failed, (grpc.StatusCode.UNAVAILABLE, "draining"))


@test
def a_write_that_waits_for_a_hung_peer_is_answered_at_the_end(cluster):
    one, two = cluster.start(2, "--drain-timeout=500ms")
    two.signal(signal.SIGSTOP)
    waiting = stub_of(one).Set.future(
        set_request("grpc", ack=pb.ACK_LEVEL_ALL, timeout_ms=20_000), timeout=30)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        rest = pool.submit(one.put, 1, "rest", b"v", ack="all", timeout="20s")
        wait_for(lambda: one.value(1, "grpc") and one.value(1, "rest"), 5, "both are applied")
        assert not waiting.done() and not rest.done(), "not waited for"
        equal(one.terminate(), 0)
        ack, answer = waiting.result(10).ack, rest.result(10)
    equal((ack.met, ack.peers, ack.acked, list(ack.pending)), (False, 1, 0, [two.name]))
    equal((answer.status, answer.json()["ack"]["pending"]), (202, [two.name]))


@test
def nothing_that_hangs_holds_up_the_end(cluster):
    one, two = cluster.start(2, "--drain-timeout=2s", "--max-value-bytes=32MiB")
    one.put(1, "large", b"x" * (32 << 20))
    two.signal(signal.SIGSTOP)
    one.put(1, "not handed over", b"v", ack="local")
    with socket.create_connection((one.ip, harness.REST_PORT), 10) as never_reads:
        never_reads.sendall(b"GET /v1/cache/1/large HTTP/1.1\r\nHost: x\r\n\r\n")
        never_reads.recv(1)     # the answer has begun
        begin = time.monotonic()
        equal(one.terminate(), 0)
        seconds = time.monotonic() - begin
    assert seconds < 3, f"{seconds:.1f} s with a drain-timeout of 2 s"


if __name__ == "__main__":
    harness.main()
