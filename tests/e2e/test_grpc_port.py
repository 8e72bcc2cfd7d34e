#!/usr/bin/python3
"""Hostile and merely diligent clients of the gRPC port: compressed bombs, floods of large messages,
keepalive pings."""

import concurrent.futures
import os
import pathlib
import threading
import time
import zlib

import harness
import stubs
from h2_client import Connection, Server, frame
from harness import BareNode, NotYet, equal, test, wait_for

BOMB_BYTES = 1 << 30
# Of which the daemon's own work takes a part.
BOMB_GROWTH = 32 << 20
METHODS = ("/podmirror.v1.Cache/Set", "/podmirror.v1.Cache/Get", "/podmirror.v1.Peer/Exchange",
           "/hellorpc.Sync/Set", "/grpc.health.v1.Health/Check")
UNIMPLEMENTED = "12"


def bomb(wbits):
    """1 GiB of zeros, packed; about 1 MiB. Without its checksum, which comes too late anyway."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    piece = bytes(16 << 20)
    start = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    return start + again * (BOMB_BYTES // len(piece) - 1)


def reset_peak(node):
    """peak() tells from now on; returns what is resident now."""
    pathlib.Path(f"/proc/{node.process.pid}/clear_refs").write_text("5")
    return node.rss()


def peak(node):
    """The most bytes that were resident since reset_peak."""
    status = pathlib.Path(f"/proc/{node.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@test
def compressed_messages_are_refused_before_they_are_unpacked(cluster):
    one, = cluster.start(1)
    with Connection(one) as client:
        stream = client.call(METHODS[1])
        client.send(stream, frame(b""), end=True)
        equal(client.end_of(stream).get("grpc-accept-encoding"), "identity", "what is accepted")
    before = reset_peak(one)
    for encoding, wbits in (("gzip", 31), ("deflate", 15)):
        message = frame(bomb(wbits), compressed=True)
        assert len(message) < 2 << 20, len(message)
        for method in METHODS:
            with Connection(one) as client:
                stream = client.call(method, ("grpc-encoding", encoding))
                client.send(stream, message, end=True)
                answer = client.end_of(stream)
            equal(answer.get("grpc-status"), UNIMPLEMENTED, f"{encoding} to {method}: {answer}")
    grown = peak(one) - before
    print(f"     grew by {grown >> 20} MiB")
    assert grown < BOMB_GROWTH, f"grew by {grown >> 20} MiB"
    equal(one.get("/readyz").status, 200)


@test
def compressed_answers_are_refused_before_they_are_unpacked(cluster):
    """A peer that is none sends a bomb as the first message of its stream."""
    one = BareNode(cluster)
    ip = f"{cluster.net}.99"
    with Server(ip, [("grpc-encoding", "gzip")], frame(bomb(31), compressed=True)) as peer:
        one.start("--discovery=static", f"--peers={ip}:{harness.GRPC_PORT}", "--service=",
                  "--cluster=test", "--etcd-endpoints=")
        wait_for(lambda: one.get("/healthz").status == 200, 10, "started")
        before = reset_peak(one)
        wait_for(lambda: peer.calls >= 3, 20, "it dials, and dials again")
        error = wait_for(lambda: one.peers()[0]["error"], 10, "why there is no connection")
    grown = peak(one) - before
    print(f"     grew by {grown >> 20} MiB: {error}")
    assert grown < BOMB_GROWTH, f"grew by {grown >> 20} MiB"
    assert "gzip" in error, error


@test
def a_peer_that_says_too_much_leaves_no_stream_behind(cluster):
    """It answers what nobody has asked, then ends the call. A daemon that still has such streams
    cannot end in order, and says so."""
    frames, _ = stubs.generate("proto", "podmirror/v1/peer.proto")
    reply = frames.Frame(hello_reply=frames.HelloReply(self=frames.Introduction(
        name="x", uid="x", cluster="test", protocol=1, incarnation=0xB00B5,
        process_started_ms=1)))
    beat = frames.Frame(heartbeat=frames.Heartbeat())
    answer = b"".join(frame(each.SerializeToString()) for each in [reply, *[beat] * 4])
    one = BareNode(cluster)
    ip = f"{cluster.net}.99"
    with Server(ip, [], answer, [("grpc-status", "0")]) as peer:
        one.start("--discovery=static", f"--peers={ip}:{harness.GRPC_PORT}", "--service=",
                  "--cluster=test", "--etcd-endpoints=")
        wait_for(lambda: peer.calls >= 5, 20, "it dials, and dials again")
        equal(one.terminate(), 0)
    equal([event["msg"] for event in one.events("stopped")], ["stopped"])
    assert one.events("peer_connected"), "it was taken for a peer"


# Each sends messages of the greatest length that is allowed; three of four only one, all but its
# end, and wait.
FLOOD_CONNECTIONS = 12
FLOOD_BYTES = 63 << 20
# So much has come in when the daemon is looked at; it would hold more than the bound below.
FLOOD_SENT = 480 << 20
# Two messages of that size (kMaxReceivedBytes of rpc_server.cpp), and as much for what is on the
# way to be freed and for the daemon's own work.
FLOOD_GROWTH = 2 * (128 << 20)


class Flood:
    """One client of the flood, which begins again whenever it is cut off."""

    def __init__(self, node, complete, stop):
        self._node, self._complete, self._stop = node, complete, stop
        self.sent, self.statuses, self._client = 0, set(), None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        piece = bytes(1 << 20)
        while not self._stop.is_set():
            try:
                with Connection(self._node, timeout=60) as client:
                    self._client = client
                    stream = client.call("/podmirror.v1.Cache/Set")
                    client.send(stream, frame(b"", length=FLOOD_BYTES))
                    for left in range(FLOOD_BYTES // len(piece), 0, -1):
                        last = left == 1
                        if self._stop.is_set() or (last and not self._complete) or \
                                not client.send(stream, piece, end=last):
                            break
                        self.sent += len(piece)
                    self.statuses.add(client.end_of(stream).get("grpc-status"))
            except OSError:     # silence, or closed on us
                pass

    def join(self):
        if self._client:
            self._client.close()
        self._thread.join(20)


@test(slow=True)
def flood_of_large_messages_is_bounded(cluster):
    one, two = cluster.start(2)
    before = reset_peak(one)
    stop = threading.Event()
    floods = [Flood(one, number % 4 == 0, stop) for number in range(FLOOD_CONNECTIONS)]

    def all_sent():
        sent = sum(flood.sent for flood in floods)
        if sent < FLOOD_SENT:
            raise NotYet(f"{sent >> 20} MiB")
        return sent
    writes = 0
    try:
        wait_for(all_sent, 300, "the flood has come in")
        # Meanwhile it works.
        for _ in range(20):
            answer = one.put(1, f"k-{writes}", b"v")
            equal(answer.status in (200, 202), True, answer)
            writes += 1
    finally:
        stop.set()
    for flood in floods:
        flood.join()
    grown = peak(one) - before
    statuses = set().union(*(flood.statuses for flood in floods))
    sent = sum(flood.sent for flood in floods)
    lost = len(one.events("peer_lost")) + len(two.events("peer_lost"))
    print(f"     {sent >> 20} MiB came in, grew by {grown >> 20} MiB, {statuses}, lost {lost}")
    assert grown < FLOOD_GROWTH, f"grew by {grown >> 20} MiB"
    cluster.wait_streaming([one, two])
    cluster.wait_same([one, two])


# Pings as often as gRPC's guides recommend. A server that takes them for an attack throws the
# client out at the third or fourth; PODMIRROR_KEEPALIVE_SECONDS=330 goes on for longer than the 5
# minutes that gRPC's own limit looks at.
PING_SECONDS, PINGS = 10, 4


def keep_alive(node, seconds, with_call):
    """Pings every PING_SECONDS, beside a call that goes on or without any; how many came back."""
    with Connection(node, timeout=1) as client:
        if with_call:
            stream = client.call("/grpc.health.v1.Health/Watch")
            client.send(stream, frame(b""), end=True)
        end, next_ping = time.monotonic() + seconds, 0.0
        while time.monotonic() < end:
            if time.monotonic() >= next_ping:
                next_ping = time.monotonic() + PING_SECONDS
                client.ping()
            try:
                client.receive()
            except TimeoutError:
                pass
            equal((client.gone, client.closed), (None, False), f"with_call={with_call}")
        return client.pongs


@test(slow=True)
def keepalive_pings_are_welcome(cluster):
    one, = cluster.start(1)
    seconds = float(os.environ.get("PODMIRROR_KEEPALIVE_SECONDS", PINGS * PING_SECONDS + 1))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = [pool.submit(keep_alive, one, seconds, with_call) for with_call in (False, True)]
        pongs = [result.result() for result in both]
    print(f"     {seconds:.0f} s, {pongs} pings answered")
    assert min(pongs) >= seconds // PING_SECONDS, pongs


if __name__ == "__main__":
    harness.main()
