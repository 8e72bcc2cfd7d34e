#!/usr/bin/python3
"""GET /v1/watch: what is told of the entries, to whom, in which form, and what is refused."""

import json
import signal
import socket
import time

import harness
import watching
from harness import Rest, equal, test, wait_for
from watching import FORMS, NDJSON, SSE, TOKEN, Cut, Mirror, alone, changes, listing, put, watch

BINARY = b"\xff\x00\r\n"
AWKWARD = "line\r\nline\n\n: data: \u2028 \"\\ \x7f ü €"


@test
def the_state_then_changes_of_all_pods(cluster):
    one, two = cluster.start(2)
    plain = put(one, "plain")
    binary = put(one, "a/b c%?ü", BINARY, type_=-7)
    timed = put(two, "timed", "", ttl="30s")
    for form in FORMS:
        with watch(two, form, initial="true") as stream:
            *state, synced = stream.until("synced")
            equal(synced.data, {})
            found = {event.data["key"]: event.data for event in state}
            equal((len(state), {event.kind for event in state}), (3, {"put"}), form)
            left = found["timed"].pop("ttl_ms")
            assert isinstance(left, int) and 0 < left <= 30_000, left
            equal(found, {
                "plain": {"type": 1, "key": "plain", "value": "v", "version": plain,
                          "ttl_ms": None},
                "a/b c%?ü": {"type": -7, "key": "a/b c%?ü", "value_base64": "/wANCg==",
                             "version": binary, "ttl_ms": None},
                "timed": {"type": 1, "key": "timed", "value": "", "version": timed}}, form)

            # From the pod that is watched, and from another one.
            for writer in (one, two):
                version = put(writer, "live", AWKWARD)
                event = stream.next()
                equal((event.kind, event.data),
                      ("put", {"type": 1, "key": "live", "value": AWKWARD, "version": version,
                               "ttl_ms": None}), form)
                version = writer.delete(1, "live").json()["version"]
                event = stream.next()
                equal((event.kind, event.data), ("delete", {
                    "type": 1, "key": "live", "version": version, "reason": "deleted"}), form)
            for event in (*state, synced, event):
                assert TOKEN.fullmatch(event.id), event


@test
def without_the_state_changes_alone(cluster):
    node = alone(cluster)
    put(node, "before")
    for query in ({}, {"initial": "false"}):
        with watch(node, **query) as stream:
            equal(stream.next()[::2], ("synced", {}))
            equal(stream.retry, 1000)
            put(node, "after")
            equal(changes([stream.next()]), [("put", 1, "after", "v")])


@test
def one_request_that_changes_much(cluster):
    node = alone(cluster)
    put(node, "gone")
    with watch(node, NDJSON) as stream:
        stream.until("synced")
        body = {"data": [{"type": 1, "data": {f"k-{i}": str(i) for i in range(300)}},
                         {"type": 2, "data": {"b": {"base64": "/w=="}}, "ttl": "30s"}],
                "delete": [{"type": 1, "keys": ["gone"]}]}
        equal(node.request("POST", "/v1/cache", json.dumps(body)).status, 200)
        told = changes(stream.next() for _ in range(302))
        expected = [("put", 1, f"k-{i}", str(i)) for i in range(300)]
        expected += [("put", 2, "b", ("base64", "/w==")), ("delete", 1, "gone", "deleted")]
        equal(sorted(told, key=str), sorted(expected, key=str))


@test
def types_and_a_prefix_choose(cluster):
    node = alone(cluster)
    chosen = {(1, "ä/"), (1, "ä/x"), (-3, "ä/ x"), (-2147483648, "ä/ä")}
    others = {(2, "ä/x"), (1, "ä"), (1, "x/ä/"), (3, "ä/x"), (2147483647, "ä/")}
    query = {"type": [1, -3, -2147483648], "prefix": "ä/"}

    def write():
        for type_, key in others | chosen:
            put(node, key, type_=type_)
        # Every other one that was not chosen has been told before this.
        put(node, "ä/~", type_=-3)

    write()
    for form in FORMS:
        with watch(node, form, initial="true", **query) as stream:
            told = changes(stream.until("synced"))
            equal({change[1:3] for change in told}, chosen | {(-3, "ä/~")})
            equal(len(told), len(chosen) + 1)
            write()
            told = changes(stream.next() for _ in range(len(chosen) + 1))
            equal({change[1:3] for change in told}, chosen | {(-3, "ä/~")})
    # A type twice is that type; no type is all of them.
    with watch(node, initial="true", type=[2, 2]) as stream:
        equal(changes(stream.until("synced")), [("put", 2, "ä/x", "v")])
    with watch(node, initial="true", prefix="ä") as stream:
        equal(len(changes(stream.until("synced"))), len(chosen | others))


@test
def expiry_is_told_at_every_pod(cluster):
    nodes = cluster.start(2)
    streams = [watch(node, form) for node in nodes for form in FORMS]
    for stream in streams:
        stream.until("synced")
    put(nodes[0], "kept")
    version = put(nodes[0], "k", ttl="600ms")
    for stream in streams:
        equal(changes([stream.next()]), [("put", 1, "kept", "v")])
        event = stream.next()
        assert 0 < event.data["ttl_ms"] <= 600, event
    for stream in streams:
        event = stream.next()
        equal((event.kind, event.data["key"], event.data["reason"]), ("delete", "k", "expired"))
        assert event.data["version"] >= version, event
        stream.close()
    # Whoever comes later is not told of it at all.
    with watch(nodes[1], initial="true") as stream:
        equal(changes(stream.until("synced")), [("put", 1, "kept", "v")])


@test
def a_new_time_to_live_is_told(cluster):
    node = alone(cluster)
    with watch(node) as stream:
        stream.until("synced")
        put(node, "k", ttl="500ms")
        put(node, "k")
        events = [stream.next(), stream.next()]
        assert events[0].data["ttl_ms"] and events[1].data["ttl_ms"] is None, events
        # It does not expire any more: what comes next is not a delete.
        put(node, "short", ttl="700ms")
        equal(changes([stream.next(), stream.next()]),
              [("put", 1, "short", "v"), ("delete", 1, "short", "expired")])


@test
def what_repair_brings_is_told(cluster):
    """What a pod was not told while it hung, it copies; its watchers learn of that, too."""
    one, two = cluster.start(2, "--backlog-bytes=1MiB")
    for i in range(100):
        put(one, f"old-{i}")
    stream, mirror = watch(two, NDJSON, initial="true"), Mirror()
    mirror.follow(stream, lambda: mirror.counts["synced"])
    two.signal(signal.SIGSTOP)
    wait_for(lambda: one.peer(two.name)["state"] == "connecting", 30, "it is out of reach")
    for i in range(3000):
        put(one, f"new-{i % 1500}", "x" * 1000, ack="local")
    for i in range(50):
        one.delete(1, f"old-{i}", ack="local")
    two.signal(signal.SIGCONT)
    cluster.wait_same([one, two], 30)
    mirror.follow_until_equal(stream, two)
    equal((len(mirror.entries), mirror.counts["reset"]), (1550, 0))


@test
def large_values_are_told_whole(cluster):
    node = alone(cluster, "--max-value-bytes=8MiB", "--max-batch-bytes=16MiB")
    large = "y" * (8 << 20)
    put(node, "bytes", b"\x80" * (4 << 20))
    for form in FORMS:
        put(node, "text", large)
        with watch(node, form, initial="true") as stream:
            told = {event.data["key"]: watching.value_of(event.data)
                    for event in stream.until("synced", 30)[:-1]}
            assert told["text"] == large, len(told["text"])
            equal(len(told["bytes"][1]), -(-(4 << 20) // 3) * 4)
            put(node, "text", "z" + large[1:])
            assert stream.next(30).data["value"] == "z" + large[1:], "another value"


@test
def forms_by_accept(cluster):
    node = alone(cluster)
    for accept, form in (("*/*", SSE), ("text/*", SSE), (NDJSON, NDJSON), ("application/*", NDJSON),
                         (f"{SSE};q=0.5, {NDJSON}", NDJSON), (f"{NDJSON};q=0.5, {SSE}", SSE),
                         (f"{NDJSON}, {SSE}", SSE), ("*/*;q=0.1, " + NDJSON, NDJSON),
                         (NDJSON.upper(), NDJSON)):
        with watching.Stream(watching.connect(node), "/v1/watch", {"Accept": accept}) as stream:
            equal((stream.status, stream.form), (200, form), accept)
            equal(stream.next().kind, "synced", accept)
    with watching.Stream(watching.connect(node), "/v1/watch") as stream:
        equal((stream.status, stream.form), (200, SSE))
        assert "no-" in stream.headers["cache-control"], stream.headers
        assert "date" in stream.headers, stream.headers


@test
def old_http_gets_it_to_the_end_of_the_connection(cluster):
    node = alone(cluster)
    put(node, "k")
    for form in FORMS:
        for headers in ({}, {"Connection": "keep-alive"}):
            with watch(node, form, headers, version="1.0", initial="true") as stream:
                assert "transfer-encoding" not in stream.headers, stream.headers
                assert "content-length" not in stream.headers, stream.headers
                assert stream.headers.get("connection", "close") != "keep-alive", stream.headers
                equal(changes(stream.until("synced")), [("put", 1, "k", "v")])
                put(node, "k")
                equal(changes([stream.next()]), [("put", 1, "k", "v")])
    with watch(node, version="1.0") as stream:
        stream.until("synced")
        node.signal(signal.SIGTERM)
        equal(stream.rest(), [])
    equal(node.process.wait(20), 0)


@test
def wrong_requests_are_refused_and_the_connection_goes_on(cluster):
    node = alone(cluster)
    with Rest(node.ip) as rest:
        rest.request("GET", "/healthz")
        local = rest.socket.getsockname()

        def refused(status, code, target, method="GET", **headers):
            answer = rest.request(method, target, headers=headers)
            equal((answer.status, answer.headers["Content-Type"]),
                  (status, "application/problem+json"), f"{method} {target} {headers}")
            if method != "HEAD":
                equal(answer.code, code, f"{method} {target}")
            equal(rest.socket.getsockname(), local, "the connection is kept")
            return answer

        for query in ("limit=1", "cursor=x", "type=1&Type=2", "wait=1s", "initial=yes", "initial=1",
                      "initial=", "initial=true&initial=true", "prefix=a&prefix=b",
                      "since=a&since=b", "ttl=1s", "x"):
            refused(400, "invalid-query", f"/v1/watch?{query}")
        for type_ in ("01", "+1", "-0", "2147483648", "-2147483649", "x", "", "1.0", "1,2"):
            answer = rest.request("GET", f"/v1/watch?type={type_}")
            equal(answer.status, 400, f"type={type_}")
            assert answer.code in ("invalid-type", "invalid-query"), answer.code
        refused(400, "invalid-query", "/v1/watch?prefix=%zz")
        refused(400, "precondition-unsupported", "/v1/watch", **{"If-Match": '"x"'})
        for method in ("HEAD", "POST", "PUT", "DELETE"):
            answer = refused(405, "method-not-allowed", "/v1/watch", method)
            equal(answer.headers["Allow"], "GET", method)
        refused(404, "no-such-route", "/v1/watch/")
        refused(404, "no-such-route", "/v1/watch/1")
        equal(rest.request("GET", "/healthz").status, 200)
        equal(rest.socket.getsockname(), local, "the connection is kept")


@test
def who_is_not_ready_has_nothing_to_watch(cluster):
    node = cluster.node()
    node.start()        # there is no etcd
    wait_for(lambda: node.get("/readyz").status == 503, 10, "it answers")
    answer = node.get("/v1/watch")
    equal((answer.status, answer.code), (503, "not-ready"))


@test
def watchers_have_a_number_of_their_own(cluster):
    """They are refused beyond it, and take no other client's place."""
    node = alone(cluster, "--max-connections=3", "--max-watchers=6")
    streams = []
    for _ in range(6):
        streams.append(wait_for(lambda: watch(node), 5, "another watch"))
        streams[-1].until("synced")
    equal(node.get("/readyz").status, 200)
    with Rest(node.ip) as rest:
        for _ in range(2):
            answer = rest.request("GET", "/v1/watch")
            equal((answer.status, answer.code), (503, "overloaded"))
        equal(rest.request("GET", "/healthz").status, 200)
    # Who goes makes room at once, though nothing is told meanwhile.
    streams.pop().close()
    wait_for(lambda: node.get("/readyz").status == 200, 5, "answers")
    streams.append(admitted(node))
    streams.pop().link.shutdown(socket.SHUT_RDWR)
    streams.append(admitted(node))
    put(node, "k")
    for stream in streams:
        equal([event[2]["key"] for event in (stream.next(),)], ["k"])


def admitted(node, seconds=5):
    """A watch, as soon as there is room for it."""
    def once():
        stream = watching.Stream(watching.connect(node), "/v1/watch", {"Accept": SSE})
        if stream.status == 503:
            stream.close()
            raise harness.NotYet("refused")
        stream.until("synced")
        return stream
    return wait_for(once, seconds, "room for a watch")


@test
def who_takes_nothing_is_cut(cluster):
    """And makes room; who takes little by little stays."""
    node = alone(cluster, "--max-watchers=2", "--request-timeout=2s")
    never_reads = watch(node, NDJSON, link=watching.connect(node, 4096))
    slow = watch(node, NDJSON, link=watching.connect(node, 4096))
    mirror = Mirror()
    for i in range(200):
        put(node, f"k-{i}", "x" * 100_000)      # more than kernels keep for a connection
    begin = time.monotonic()
    seen = []

    def cut():
        seen.append(slow.link.recv(1 << 16))
        stream = watching.Stream(watching.connect(node), "/v1/watch", {"Accept": SSE})
        stream.close()
        return stream.status == 200
    wait_for(cut, 20, "room for another watch")
    assert time.monotonic() - begin > 0.5, "it was cut at once"
    slow._raw += b"".join(seen)     # what was read past it
    slow._decode()
    mirror.follow_until_equal(slow, node, 30)
    never_reads.close()


@test
def a_slow_reader_ends_with_all_of_it(cluster):
    """It is behind by more than the change log has: values in between may be left out, and it may
    be told to begin anew, but at the end it has what there is."""
    node = alone(cluster, "--change-log-bytes=1MiB")
    put(node, "deleted")
    slow = watch(node, NDJSON, link=watching.connect(node, 4096), initial="true")
    mirror = Mirror()
    mirror.follow(slow, lambda: mirror.counts["synced"])
    with Rest(node.ip) as rest:
        for i in range(3000):
            rest.request("PUT", f"/v1/cache/1/k-{i % 500}", f"{i}".ljust(10_000))
        rest.request("DELETE", "/v1/cache/1/deleted")
    mirror.follow_until_equal(slow, node)
    equal(len(mirror.entries), 500)
    put(node, "end")
    mirror.follow(slow, lambda: (1, "end") in mirror.entries)
    print(f"     {dict(mirror.counts)}")


@test
def many_watchers_are_told_the_same(cluster):
    node = alone(cluster)
    streams = [watch(node, FORMS[i % 2], type=i % 4, initial="true") for i in range(200)]
    for stream in streams:
        stream.until("synced")
    for i in range(400):
        put(node, f"k-{i}", str(i), type_=i % 4)
    for number, stream in enumerate(streams):
        equal(changes(stream.next() for _ in range(100)),
              [("put", i % 4, f"k-{i}", str(i)) for i in range(number % 4, 400, 4)])
        stream.close()


@test
def a_stop_ends_every_watch(cluster):
    """What was written before the ports close is told, the stream ends whole, and nobody who
    does not read holds up the end."""
    one, two = cluster.start(2, "--drain-delay=1s", "--drain-timeout=5s")
    streams = [watch(one, form, initial="true") for form in FORMS]
    never_reads = watch(one, link=watching.connect(one, 4096))
    for stream in streams:
        stream.until("synced")
    for i in range(100):
        put(two, f"k-{i}", "x" * 100_000)
    for stream in streams:
        for _ in range(100):
            stream.next()
    begin = time.monotonic()
    one.signal(signal.SIGTERM)
    wait_for(lambda: one.get("/readyz").status == 503, 5, "it is about to stop")
    equal(one.put(1, "in the delay", b"v").status, 200)
    equal(two.put(1, "from the other", b"v").status, 200)
    for stream in streams:
        events = stream.rest()
        equal([event.data["key"] for event in events if event.kind == "put"],
              ["in the delay", "from the other"])
        equal({event.kind for event in events} - {"put", "bookmark"}, set())
    equal(one.process.wait(20), 0)
    assert time.monotonic() - begin < 7, f"{time.monotonic() - begin:.1f} s"
    never_reads.close()
    equal(len(listing(two)), 102)


@test
def a_killed_daemon_cuts_the_stream(cluster):
    """So that nobody takes it for a whole one."""
    node = alone(cluster)
    stream = watch(node)
    stream.until("synced")
    node.kill()
    try:
        event = stream.next()
        raise AssertionError(f"{event} from who is dead")
    except Cut:
        pass


if __name__ == "__main__":
    harness.main()
