#!/usr/bin/python3
"""Bad input and bad clients against real daemons: what is answered, and that nothing else suffers.
The finer cases are integration tests of the REST front end; here is a sample of each kind."""

import gzip
import json
import re
import socket
import subprocess
import threading
import time

import harness
from harness import REST_PORT, Rest, equal, test, wait_for

MEMORY_GROWTH = 64 << 20
RANGES = "bytes=" + ",".join(["0-"] * 1900)


def connect(node, timeout=10):
    return socket.create_connection((node.ip, REST_PORT), timeout)


def read_all(link):
    """All bytes until the daemon closes or is quiet."""
    answer = b""
    try:
        while chunk := link.recv(65536):
            answer += chunk
    except OSError:     # nothing more to come
        pass
    return answer


def statuses_of(answers):
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def exchange(node, data):
    """Sends the bytes and reads until the daemon closes or is quiet: (statuses, all bytes)."""
    with connect(node, timeout=3) as link:
        try:
            link.sendall(data)
        except OSError:     # closed on us while sending; it may have answered before
            pass
        answer = read_all(link)
    return statuses_of(answer), answer


def head(method, target, *headers, body=b""):
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@test
def bad_requests_are_named_and_change_nothing(cluster):
    one, = cluster.start(1)
    before = one.status()["digest"]
    for method, path, body, status, code in (
            ("PUT", "/v1/cache/1/" + "k" * 513, b"v", 400, "invalid-key"),
            ("PUT", "/v1/cache/1/%ff%fe", b"v", 400, "invalid-key"),
            ("PUT", "/v1/cache/1/a%00b", b"v", 400, "invalid-key"),
            ("PUT", "/v1/cache/1/a%zz", b"v", 400, "invalid-key"),
            ("PUT", "/v1/cache/1/", b"v", 400, "invalid-key"),
            ("PUT", "/v1/cache/abc/k", b"v", 400, "invalid-type"),
            ("PUT", "/v1/cache/2147483648/k", b"v", 400, "invalid-type"),
            ("PUT", "/v1/cache/01/k", b"v", 400, "invalid-type"),
            ("PUT", "/v1/cache/1/k", b"v" * ((1 << 20) + 1), 413, "value-too-large"),
            ("PUT", "/v1/cache/1/k?ttl=soon", b"v", 400, "invalid-ttl"),
            ("PUT", "/v1/cache/1/k?ack=some", b"v", 400, "invalid-query"),
            ("PUT", "/v1/cache/1/k?no=such", b"v", 400, "invalid-query"),
            ("POST", "/v1/cache", b"{broken", 400, "invalid-json"),
            ("POST", "/v1/cache", json.dumps({"data": [
                {"type": 1, "data": {"good": "v"}}, {"type": "one", "data": {"bad": "v"}}]}),
             400, "invalid-type"),
            ("GET", "/v1/nonsense", None, 404, "no-such-route"),
            ("PATCH", "/v1/cache/1/k", b"v", 405, "method-not-allowed")):
        answer = one.request(method, path, body)
        equal((answer.status, answer.code), (status, code), f"{method} {path[:60]}")
        equal(answer.headers["Content-Type"], "application/problem+json", path[:60])
    equal(one.put(1, "k", b"v", timeout="1s").status, 200)
    answer = one.request("PUT", "/v1/cache/1/k", b"v", {"If-Match": '"x"'})
    equal((answer.status, answer.code), (400, "precondition-unsupported"))
    answer = one.request("PUT", "/v1/cache/1/k", gzip.compress(b"0" * 1000),
                         {"Content-Encoding": "gzip"})
    equal((answer.status, answer.code), (415, "unsupported-encoding"))
    one.delete(1, "k")
    equal(one.status()["entries"], 0)
    assert one.status()["digest"] != before     # the tombstone of the one write that was good


@test
def framing_that_lies_is_refused(cluster):
    one, = cluster.start(1)
    put = "/v1/cache/1/k"
    for name, data in {
            "two lengths": head("PUT", put, "Content-Length: 1", "Content-Length: 2", body=b"vv"),
            "no number": head("PUT", put, "Content-Length: 0x1", body=b"v"),
            "length and chunked": head("PUT", put, "Content-Length: 1",
                                       "Transfer-Encoding: chunked", body=b"1\r\nv\r\n0\r\n\r\n"),
            "bad chunk": head("PUT", put, "Transfer-Encoding: chunked", body=b"zz\r\nv\r\n"),
    }.items():
        statuses, _ = exchange(one, data)
        equal(statuses, [400], name)
    equal(exchange(one, b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n")[0], [431])
    equal(exchange(one, head("GET", put, *(f"h{i}: {'x' * 100}" for i in range(300))))[0], [431])
    equal(one.status()["entries"], 0)


@test
def bodies_are_stored_as_sent(cluster):
    one, = cluster.start(1)
    url = f"http://{one.ip}:{REST_PORT}/v1/cache/1/form"
    subprocess.run(["curl", "-sS", "-X", "PUT", "-d", "a=1&b=%20+", url], check=True,
                   stdout=subprocess.DEVNULL)
    equal(one.value(1, "form"), b"a=1&b=%20+")
    subprocess.run(["curl", "-sS", "-X", "PUT", "-F", "field=value", url], check=True,
                   stdout=subprocess.DEVNULL)
    assert b'name="field"' in one.value(1, "form"), one.value(1, "form")
    answer = one.get("/v1/cache/1/form", headers={"Range": RANGES})
    equal((answer.status, answer.body), (200, one.value(1, "form")))


@test
def pipelined_requests_are_all_answered(cluster):
    one, = cluster.start(1)
    requests = b"".join(
        f"PUT /v1/cache/1/k-{i} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv".encode()
        for i in range(50)) + head("GET", "/v1/cache/1/k-49")
    statuses, _ = exchange(one, requests)
    equal(statuses, [200] * 51)


class Nuisance:
    """Bad clients of one kind, run by a thread until told to stop."""

    def __init__(self, node, act, stop):
        self.statuses = set()
        self._node, self._act, self._stop = node, act, stop
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                self.statuses.update(self._act(self._node, self._stop) or [])
            except OSError:
                pass

    def join(self):
        self._thread.join(20)


def flood(node, stop, start, piece):
    """Sends start, then piece after piece until it is cut off: the statuses that it was told."""
    with connect(node, timeout=3) as link:
        try:
            link.sendall(start)
            while not stop.is_set():
                link.sendall(piece)
        except OSError:     # closed on us; what was answered before can still be read
            pass
        return statuses_of(read_all(link))


def endless_line(node, stop):
    return flood(node, stop, b"GET /", b"a" * 65536)


def endless_headers(node, stop):
    return flood(node, stop, b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 10000)


def endless_chunks(node, stop):
    return flood(node, stop, head("PUT", "/v1/cache/1/big", "Transfer-Encoding: chunked"),
                 b"10000\r\n" + b"v" * 65536 + b"\r\n")


def slow_loris(node, stop):
    links = [connect(node) for _ in range(20)]
    try:
        for link in links:
            link.sendall(b"GET /v1/cache/1/k HTTP/1.1\r\n")
        while not stop.wait(0.2):
            for link in links:
                link.sendall(b"a: b\r\n")
    finally:
        for link in links:
            link.close()


def bomb(node, _, body=gzip.compress(b"0" * (300 << 20), 9)):
    return exchange(node, head("PUT", "/v1/cache/1/bomb", "Content-Encoding: gzip",
                               f"Content-Length: {len(body)}", body=body))[0]


def many_ranges(node, _):
    return exchange(node, head("GET", "/v1/cache/1/large", f"Range: {RANGES}"))[0]


def half_a_body(node, _):
    with connect(node) as link:
        link.sendall(head("PUT", "/v1/cache/1/half", "Content-Length: 1000000", body=b"v" * 500000))


@test
def nothing_else_suffers_from_bad_clients(cluster):
    one, two = cluster.start(2)
    one.put(1, "large", b"x" * (1 << 20))
    mine = Rest(one.ip)     # a good client that was there first; new ones may be told "overloaded"
    equal(mine.request("GET", "/v1/cache/1/large").status, 200)
    idle = [connect(one) for _ in range(1000)]
    settled = one.rss()
    stop = threading.Event()
    nuisances = [Nuisance(one, act, stop) for act in (
        endless_line, endless_headers, endless_chunks, slow_loris, bomb, many_ranges, half_a_body)]
    peak, slowest, writes = 0, 0.0, 0
    end = time.monotonic() + 8
    try:
        while time.monotonic() < end:
            begin = time.monotonic()
            equal(one.get("/healthz").status, 200)
            slowest = max(slowest, time.monotonic() - begin)
            for sender, reader in ((mine.request, two), (two.request, one)):
                path = f"/v1/cache/2/k-{writes}"
                answer = sender("PUT", path, b"v")
                assert answer.status == 200, answer
                equal(answer.json()["ack"]["acked"], 1)
                answer = (mine if reader is one else reader).request("GET", path)
                equal((answer.status, answer.body), (200, b"v"))
                writes += 1
            peak = max(peak, one.rss())
    finally:
        stop.set()
        for link in idle:
            link.close()
        mine.close()
    for nuisance in nuisances:
        nuisance.join()
    statuses = set().union(*(nuisance.statuses for nuisance in nuisances))
    print(f"     {writes} writes meanwhile, /healthz at most {slowest * 1000:.0f} ms, "
          f"memory +{(peak - settled) >> 20} MiB, answers {sorted(statuses)}")
    assert slowest < 1, f"/healthz took {slowest:.2f} s"
    assert writes > 20, writes
    assert peak - settled < MEMORY_GROWTH, f"memory grew by {(peak - settled) >> 20} MiB"
    assert {status for status in statuses if status >= 500} <= {503}, statuses
    assert {413, 431} <= statuses, "the floods were told why"
    equal(one.process.poll(), None)
    equal((one.value(1, "half"), one.value(1, "bomb"), one.value(1, "big")), (None, None, None))
    cluster.wait_same([one, two])


@test
def more_connections_than_allowed(cluster):
    one, = cluster.start(1, "--max-connections=50")
    links = []
    try:
        for _ in range(200):
            links.append(connect(one))
        for _ in range(5):
            equal(one.get("/healthz", timeout=1).status, 200, "/healthz at the limit")
        answer = one.get("/v1/cache")
        equal((answer.status, answer.code), (503, "overloaded"))
    finally:
        for link in links:
            link.close()
    wait_for(lambda: one.get("/v1/cache").status == 200, 5, "serving after the flood")
    equal(one.put(1, "k", b"v").status, 200)


if __name__ == "__main__":
    harness.main()
