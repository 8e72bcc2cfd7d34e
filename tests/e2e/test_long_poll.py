#!/usr/bin/python3
"""GET /v1/cache/{type}/{key}?wait=: one entry, as soon as it has another version."""

import http.client
import select
import signal
import time

import harness
from harness import REST_PORT, Rest, entry_path, equal, test, wait_for
from watching import alone, put

SOON = 2.0      # seconds: far less than what is waited for, far more than an answer takes


class Waiting:
    """A request that waits: sent, and its answer not read yet."""

    def __init__(self, node, key, etag, wait="20s", **headers):
        self._http = http.client.HTTPConnection(node.ip, REST_PORT, timeout=40)
        # It is let in before it waits.
        self._http.request("GET", "/healthz")
        self._http.getresponse().read()
        self.begin = time.monotonic()
        self._http.request("GET", entry_path(1, key, wait=wait),
                           headers={"If-None-Match": etag, **headers})

    def done(self):
        return bool(select.select([self._http.sock], [], [], 0)[0])

    def answer(self):
        """The answer, and how long it took."""
        answer = self._http.getresponse()
        seconds = time.monotonic() - self.begin
        body = answer.read()
        self._http.close()
        return harness.Answer(answer.status, answer.headers, body), seconds


def quoted(version):
    return f'"{version}"'


@test
def it_answers_when_the_value_changes(cluster):
    one, two = cluster.start(2)
    for writer in (two, one):
        version = put(one, "k", "old")
        waiting = Waiting(one, "k", quoted(version))
        for _ in range(20):     # others are no reason
            put(two, "other")
            put(two, "k", type_=2)
        assert not waiting.done(), waiting.answer()
        begin = time.monotonic()
        changed = put(writer, "k", "new", ttl="30s")
        answer, _ = waiting.answer()
        assert time.monotonic() - begin < SOON, "late"
        equal((answer.status, answer.body, answer.headers["ETag"]),
              (200, b"new", quoted(changed)))
        assert 0 < int(answer.headers["Podmirror-Ttl-Ms"]) <= 30_000
    # The same value is another version.
    waiting = Waiting(one, "k", quoted(changed), Accept="application/json")
    again = put(two, "k", "new")
    answer, _ = waiting.answer()
    equal((answer.status, answer.json()["version"], answer.json()["value"]), (200, again, "new"))


@test
def it_says_not_modified_when_the_time_is_over(cluster):
    node = alone(cluster)
    version = put(node, "k")
    waits = {"500ms": 0.5, "1s": 1.0, "0s": 0.0}
    for wait, waiting in {wait: Waiting(node, "k", quoted(version), wait)
                          for wait in waits}.items():
        answer, seconds = waiting.answer()
        equal((answer.status, answer.body, answer.headers["ETag"]), (304, b"", quoted(version)))
        # Those that were sent before it were read before it.
        assert waits[wait] - 0.01 <= seconds < max(waits.values()) + SOON, f"{wait}: {seconds:.2f}"


@test
def it_says_not_found_when_the_entry_goes(cluster):
    one, two = cluster.start(2)
    waiting = Waiting(one, "k", quoted(put(one, "k")))
    equal(two.delete(1, "k").status, 200)
    answer, seconds = waiting.answer()
    equal((answer.status, answer.code), (404, "not-found"))
    assert seconds < 10, f"{seconds:.1f} s"
    waiting = Waiting(one, "k", quoted(put(two, "k", ttl="600ms")))
    answer, seconds = waiting.answer()
    equal(answer.status, 404, "expired")
    assert seconds < 0.6 + SOON, f"{seconds:.1f} s"


@test
def it_answers_at_once_what_is_not_the_same(cluster):
    node = alone(cluster)
    old = put(node, "k", "old")
    new = put(node, "k", "new")
    with Rest(node.ip) as rest:
        def ask(key, etag, wait="60s"):
            headers = {"If-None-Match": etag} if etag else {}
            begin = time.monotonic()
            answer = rest.request("GET", entry_path(1, key, wait=wait), headers=headers)
            assert time.monotonic() - begin < SOON, f"{key} {etag}"
            return answer
        answer = ask("k", quoted(old))
        equal((answer.status, answer.body, answer.headers["ETag"]), (200, b"new", quoted(new)))
        equal(ask("missing", quoted(old)).status, 404)
        equal(ask("k", f'{quoted(old)}, {quoted(new)}', "100ms").status, 304)


@test
def wrong_waits_are_refused(cluster):
    node = alone(cluster)
    version = put(node, "k")
    with Rest(node.ip) as rest:
        for wait in ("61s", "60001ms", "2m", "1h", "-1s", "x", "", "1", "1.5.s", "s",
                     "99999999999999999999s", "1s&wait=1s"):
            answer = rest.request("GET", f"/v1/cache/1/k?wait={wait}",
                                  headers={"If-None-Match": quoted(version)})
            equal((answer.status, answer.code), (400, "invalid-query"), f"wait={wait}")
        for method, path in (("PUT", "/v1/cache/1/k?wait=1s"), ("DELETE", "/v1/cache/1/k?wait=1s"),
                             ("GET", "/v1/cache/1?wait=1s"), ("GET", "/v1/cache?wait=1s"),
                             ("GET", "/v1/status?wait=1s")):
            answer = rest.request(method, path)
            equal((answer.status, answer.code), (400, "invalid-query"), f"{method} {path}")
    equal(node.value(1, "k"), b"v")


@test
def a_crowd_that_waits_holds_up_nobody(cluster):
    """And all of it is answered by one change, on connections that go on."""
    node, count = alone(cluster), 200
    version = put(node, "k", "old")
    crowd = [node.rest(timeout=40) for _ in range(count)]
    try:
        for rest in crowd:
            rest.request("GET", "/healthz")
            # Sent, and not waited for.
            rest.socket.sendall(b"GET /v1/cache/1/k?wait=30s HTTP/1.1\r\nHost: x\r\n"
                                b'If-None-Match: "%s"\r\n\r\n' % version.encode())
        equal(node.get("/readyz").status, 200)
        equal(node.value(1, "k"), b"old")
        begin = time.monotonic()
        put(node, "k", "new")
        for rest in crowd:
            answer = b""
            while not answer.endswith(b"new"):
                piece = rest.socket.recv(4096)
                assert piece, f"closed after {answer}"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert time.monotonic() - begin < 5, f"{time.monotonic() - begin:.1f} s"
        for rest in crowd:
            rest.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert rest.socket.recv(4096).startswith(b"HTTP/1.1 200 ")
    finally:
        for rest in crowd:
            rest.close()


@test
def who_waits_and_goes_leaves_nothing_behind(cluster):
    node = alone(cluster, "--max-connections=6")
    version = put(node, "k")
    for _ in range(20):
        rests = [node.rest() for _ in range(3)]
        for rest in rests:
            wait_for(lambda rest=rest: rest.request("GET", "/v1/cache/1/k").status == 200, 5,
                     "let in")
            rest.socket.sendall(b"GET /v1/cache/1/k?wait=60s HTTP/1.1\r\nHost: x\r\n"
                                b'If-None-Match: "%s"\r\n\r\n' % version.encode())
        for rest in rests:
            rest.close()
    wait_for(lambda: node.get("/v1/status").status == 200, 5, "there is room")
    put(node, "k", "new")
    equal(node.value(1, "k"), b"new")


@test
def a_stop_does_not_wait_for_who_waits(cluster):
    node = alone(cluster, "--drain-timeout=10s")
    version = put(node, "k")
    waiting = [Waiting(node, "k", quoted(version), "60s") for _ in range(3)]
    equal(node.value(1, "k"), b"v")
    begin = time.monotonic()
    node.signal(signal.SIGTERM)
    for one in waiting:
        answer, _ = one.answer()
        assert answer.status in (304, 503), answer
    equal(node.process.wait(20), 0)
    assert time.monotonic() - begin < 9, f"{time.monotonic() - begin:.1f} s"


if __name__ == "__main__":
    harness.main()
