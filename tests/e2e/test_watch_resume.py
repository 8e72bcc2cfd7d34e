#!/usr/bin/python3
"""Watches that go on by a token where another one ended, and those that cannot."""

import json
import subprocess
import threading

import harness
from harness import REST_PORT, Rest, equal, test
from watching import (FORMS, NDJSON, TOKEN, Event, Mirror, alone, changes, listing, put,
                      watch, watch_path)
from workload import Background

QUIET_SECONDS = 10      # after so long a bookmark tells that nothing has happened


def fill(node, bytes_, keys=2000, prefix="fill"):
    """Writes so much, at least."""
    with Rest(node.ip) as rest:
        for i in range(bytes_ // 50_000 + 1):
            data = {f"{prefix}-{(50 * i + j) % keys}": "x" * 1000 for j in range(50)}
            answer = rest.request("POST", "/v1/cache", json.dumps(
                {"data": [{"type": 1, "data": data}]}))
            equal(answer.status, 200)


@test
def every_token_is_a_place_to_go_on(cluster):
    node = alone(cluster)
    put(node, "before")
    with watch(node, initial="true") as stream:
        events = stream.until("synced")[-1:]
        for i in range(10):
            put(node, f"k-{i}")
        node.delete(1, "before")
        put(node, "timed", ttl="200ms")
        events += [stream.next() for _ in range(13)]
    told = changes(events)
    equal(told[-3:], [("delete", 1, "before", "deleted"), ("put", 1, "timed", "v"),
                      ("delete", 1, "timed", "expired")])
    for form in FORMS:
        for number, event in enumerate(events):
            for query, headers in (({"since": event.id}, {}),
                                   ({}, {"Last-Event-ID": event.id}),
                                   ({"since": event.id, "initial": "true"}, {}),
                                   # A browser that comes back has the old one in its address.
                                   ({"since": "nonsense"}, {"Last-Event-ID": event.id})):
                with watch(node, form, headers, **query) as stream:
                    *missed, synced = stream.until("synced")
                    # The put of what has expired since may be left out.
                    equal([change for change in changes(missed) if change[1:3] != (1, "timed")],
                          [change for change in told[number:] if change[1:3] != (1, "timed")],
                          f"since {number} by {query} {headers}")
                    equal({other.kind for other in missed} - {"put", "delete"}, set())
                    if number < 13:
                        equal(changes(missed)[-1:], told[-1:])
                    assert TOKEN.fullmatch(synced.id), synced


@test
def a_chain_of_watches_misses_nothing(cluster):
    """Each takes a few events and is cut, while two pods are written to; together they are one."""
    one, two = cluster.start(2)
    mirror, keys = Mirror(), 200
    with Changer(one, keys) as first, Changer(two, keys) as second:
        since = None
        for number in range(150):
            with watch(two, FORMS[number % 2], since=since, initial="true") as stream:
                for _ in range(1 + number % 7):
                    mirror.apply(stream.next())
                if number == 0:     # an initial state cannot be gone on with in its middle
                    mirror.follow(stream, lambda: mirror.counts["synced"])
            since = mirror.id
    cluster.wait_same([one, two])
    equal(mirror.counts["reset"], 0)
    with watch(two, since=since) as stream:
        mirror.follow_until_equal(stream, two)
    print(f"     {first.count + second.count} writes, {dict(mirror.counts)}")


class Changer(Background):
    """Puts and deletes some keys in turn, as fast as one connection can."""

    def __init__(self, node, keys):
        super().__init__()
        self._node, self._keys = node, keys
        self.count = 0

    def _work(self):
        with Rest(self._node.ip) as rest:
            while not self._over.is_set():
                method = "DELETE" if self.count % 5 == 4 else "PUT"
                rest.request(method, f"/v1/cache/1/k-{self.count * 7 % self._keys}",
                             f"{self._node.name} {self.count}")
                self.count += 1


@test
def a_state_that_was_cut_is_sent_anew(cluster):
    """Half of it is not all of it, whatever the last id was."""
    node = alone(cluster)
    fill(node, 3_000_000)
    mirror = Mirror()
    with watch(node, NDJSON, initial="true") as stream:
        mirror.follow(stream, lambda: len(mirror.entries) == 100)
        assert not mirror.counts["synced"]
    put(node, "later")
    with watch(node, NDJSON, initial="true", since=mirror.id) as stream:
        mirror.follow(stream, lambda: mirror.counts["synced"])
        equal(mirror.entries, listing(node))


def check_reset(node, since, **query):
    """The whole state follows, and so do changes; the token of that goes on."""
    for form in FORMS:
        mirror = Mirror()
        mirror.apply(Event("put", since, {"type": 1, "key": "stale", "value": "v",
                                          "version": "f" * 33}))
        with watch(node, form, since=since, **query) as stream:
            first = stream.next()
            equal((first.kind, first.data), ("reset", {}), f"since {since!r}")
            mirror.apply(first)
            mirror.follow(stream, lambda: mirror.counts["synced"])
            prefix = query.get("prefix", "")
            equal(mirror.entries, {name: entry for name, entry in listing(node).items()
                                   if name[1].startswith(prefix)})
            put(node, f"{prefix}live")
            mirror.follow(stream, lambda: (1, f"{prefix}live") in mirror.entries)
        node.delete(1, f"{prefix}live")
        with watch(node, form, since=mirror.id, **query) as stream:
            equal(changes(stream.until("synced")), [("delete", 1, f"{prefix}live", "deleted")])


@test
def tokens_of_others_begin_anew(cluster):
    one, two = cluster.start(2)
    for i in range(20):
        put(one, f"{'ab'[i % 2]}/{i}")
    cluster.wait_same([one, two])
    with watch(one, initial="true") as stream:
        of_one = stream.until("synced")[-1].id
    check_reset(two, of_one)
    check_reset(two, of_one, prefix="a/")
    check_reset(two, of_one, initial="true")

    one.kill()
    one.start()
    one.restart_record()
    one.wait_ready()
    cluster.wait_same([one, two])
    check_reset(one, of_one)
    with watch(one, initial="true") as stream:
        token = stream.until("synced")[-1].id
    for nonsense in ("x", "-", "0", token[:-1], token + "0", token.upper().replace("-", "_"),
                     token[:16], "f" * 16 + "-" + "f" * 16, "0" * 16 + "-" + "0" * 16,
                     "x" * 4000, "ü", " ", f"{token},{token}",
                     f"{token[:16]}-{'f' * 16}",     # of this run, of a change yet to come
                     f"{'f' * 16}-{token[17:]}"):
        check_reset(one, nonsense)


@test
def a_token_that_the_log_has_lost_begins_anew(cluster):
    node = alone(cluster, "--change-log-bytes=1MiB")
    put(node, "deleted")
    with watch(node, initial="true") as stream:
        since = stream.until("synced")[-1].id
        put(node, "next")
        after = stream.next().id
    with watch(node, since=since) as stream:
        equal(changes(stream.until("synced")), [("put", 1, "next", "v")])
    node.delete(1, "deleted")
    fill(node, 8_000_000)
    check_reset(node, since)
    check_reset(node, after)


@test(slow=True)
def silence_is_told(cluster):
    """Also to who has asked for what nobody writes; its token goes on when older ones do not."""
    node = alone(cluster, "--change-log-bytes=1MiB")
    put(node, "quiet/k")
    streams = {form: watch(node, form, prefix="quiet/", initial="true") for form in FORMS}
    before = {form: stream.until("synced")[-1] for form, stream in streams.items()}
    over = threading.Event()

    def noise():
        while not over.wait(0.05):
            fill(node, 100_000)
    thread = threading.Thread(target=noise)
    thread.start()
    try:
        for form, stream in streams.items():
            event = stream.next(QUIET_SECONDS + 2)
            equal((event.kind, event.data), ("bookmark", {}))
            assert event.id != before[form].id, event
            with watch(node, form, prefix="quiet/", since=event.id) as later:
                equal(later.next()[::2], ("synced", {}))
            with watch(node, form, prefix="quiet/", since=before[form].id) as later:
                equal(later.next().kind, "reset")
        put(node, "quiet/k", "w")
        for stream in streams.values():
            equal(changes([stream.next()]), [("put", 1, "quiet/k", "w")])
    finally:
        over.set()
        thread.join()


@test(slow=True)
def silence_is_told_again_and_again(cluster):
    node = alone(cluster)
    with watch(node) as stream:
        stream.until("synced")
        for _ in range(2):
            equal(stream.next(QUIET_SECONDS + 2).kind, "bookmark")


class Curl:
    """curl -N, as a script has it: a line an event; it ends when the connection does."""

    def __init__(self, node, since=None, form=NDJSON):
        url = f"http://{node.ip}:{REST_PORT}{watch_path(initial='true', since=since)}"
        self._process = subprocess.Popen(["curl", "-sN", "-H", f"Accept: {form}", url],
                                         stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def next(self, _seconds=None):
        """Raises EOFError when curl has ended, which tells its code."""
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(self._process.wait(10))
        fields = json.loads(line)
        return Event(fields.pop("event"), fields.pop("id"), fields)

    def close(self):
        self._process.kill()
        self._process.wait(10)
        self._process.stdout.close()


@test
def curl_follows_through_a_kill(cluster):
    one, two = cluster.start(2)
    for i in range(1000):
        put(one, f"k-{i}", ack="local")
    cluster.wait_same([one, two])
    mirror = Mirror()
    curl = Curl(one)
    mirror.follow(curl, lambda: mirror.counts["synced"])
    one.kill()
    try:
        curl.next()
        raise AssertionError("an event of who is dead")
    except EOFError as error:
        equal(error.args[0], 18, "curl's code: it was cut")    # CURLE_PARTIAL_FILE
    curl.close()
    # Gone, changed and new while nobody could tell.
    two.delete(1, "k-0")
    put(two, "k-1", "changed", ack="local")
    put(two, "new", ack="local")
    one.start()
    one.restart_record()
    one.wait_ready()
    cluster.wait_same([one, two])
    curl = Curl(one, since=mirror.id)
    mirror.follow(curl, lambda: mirror.counts["synced"] == 2)
    equal(mirror.counts["reset"], 1)
    equal(mirror.entries, listing(one))
    equal((len(mirror.entries), mirror.entries[1, "k-1"][0]), (1000, "changed"))
    put(two, "live")
    mirror.follow(curl, lambda: (1, "live") in mirror.entries)
    curl.close()


if __name__ == "__main__":
    harness.main()
