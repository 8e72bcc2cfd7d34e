#!/usr/bin/python3
"""podmirror.v1.Cache/Watch: the same as by REST, and tokens of either serve the other."""

import contextlib
import queue
import signal
import threading

import grpc

import harness
import stubs
import watching
from harness import GRPC_PORT, equal, test, wait_for
from watching import alone, put

pb, pb_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")
KINDS, REASONS = (
    {value.number: value.name.rpartition("_")[2].lower() for value in of.DESCRIPTOR.values}
    for of in (pb.WatchEvent.Kind, pb.WatchEvent.Reason))


class Watch:
    """One call; its events come from a thread that reads them."""

    def __init__(self, node, reads=True, **request):
        self._channel = grpc.insecure_channel(f"{node.ip}:{GRPC_PORT}",
                                              options=[("grpc.enable_http_proxy", 0)])
        self._call = pb_grpc.CacheStub(self._channel).Watch(pb.WatchRequest(**request))
        self._events = queue.Queue()
        if reads:
            threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._call.cancel()
        self._channel.close()

    def _read(self):
        try:
            for answer in self._call:
                assert answer.events, "an answer without any event"
                for event in answer.events:
                    self._events.put(event)
            self._events.put((grpc.StatusCode.OK, ""))
        except grpc.RpcError as error:
            self._events.put((error.code(), error.details()))

    def next(self, seconds=10):
        """An event as REST tells it; how the call has ended is raised."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError("nothing came in time") from None
        if isinstance(event, tuple):
            raise Ended(*event)
        kind, entry = KINDS[event.kind], event.entry
        data = {}
        if kind in ("put", "delete"):
            data = {"type": entry.type, "key": entry.key, "version": entry.version}
        if kind == "put":
            data |= {"value": entry.value.decode(), "ttl_ms": entry.ttl_ms or None}
        elif kind == "delete":
            equal((entry.value, entry.ttl_ms), (b"", 0))
            data["reason"] = REASONS[event.reason]
        if kind != "delete":
            equal(event.reason, 0)
        return watching.Event(kind, event.id, data)

    def until(self, kind, seconds=10):
        events = [self.next(seconds)]
        while events[-1].kind != kind:
            events.append(self.next(seconds))
        return events

    def end(self, seconds=10):
        """The code with which it ends, after whatever events."""
        try:
            while True:
                self.next(seconds)
        except Ended as end:
            return end.args


class Ended(Exception):
    """Code and text of a call that is over."""


@test
def the_same_is_told_as_by_rest(cluster):
    one, two = cluster.start(2)
    put(one, "a/1")
    put(one, "a/2", ttl="40s")
    put(one, "b/1", type_=-2)
    put(one, "b/2", type_=3)
    request = {"types": [1, -2], "prefix": "", "initial": True}
    with Watch(two, **request) as call, watching.watch(two, type=[1, -2], initial="true") as stream:
        states = call.until("synced"), stream.until("synced")
        for state in states:
            equal(sorted(event.data["key"] for event in state[:-1]), ["a/1", "a/2", "b/1"])
        put(two, "short", ttl="300ms")
        put(one, "b/2", "unseen", type_=3)
        one.delete(1, "a/1")
        put(one, "b/1", "new", type_=-2)
        for _ in range(4):
            event, other = call.next(), stream.next()
            for ttl in (event.data, other.data):
                ttl.pop("ttl_ms", None)
            equal((event.kind, event.data), (other.kind, other.data))
    with Watch(two, types=[3], prefix="b") as call:
        equal(call.next()[::2], ("synced", {}))
        put(one, "a", type_=3)
        put(one, "b", type_=3)
        equal(call.next().data["key"], "b")


@test
def tokens_go_on_by_grpc_and_rest(cluster):
    node = alone(cluster)
    put(node, "k")
    with Watch(node, initial=True) as call:
        tokens = [call.until("synced")[-1].id]
        for i in range(5):
            put(node, f"k-{i}")
            tokens.append(call.next().id)
    for number, token in enumerate(tokens):
        expected = [f"k-{i}" for i in range(number, 5)]
        with Watch(node, since=token, initial=True) as call:
            equal([event.data["key"] for event in call.until("synced")[:-1]], expected)
        with watching.watch(node, since=token) as stream:
            equal([event.data["key"] for event in stream.until("synced")[:-1]], expected)
    with watching.watch(node) as stream:
        stream.until("synced")
        put(node, "rest")
        token = stream.next().id
    put(node, "after")
    with Watch(node, since=token) as call:
        equal([event.data.get("key") for event in call.until("synced")], ["after", None])
    for nonsense in ("x", "f" * 16 + "-" + "f" * 16, "0" * 33, "x" * 4000):
        with Watch(node, since=nonsense) as call:
            events = call.until("synced")
            equal((events[0].kind, len(events)), ("reset", 10), nonsense)


@test
def a_stop_ends_the_calls(cluster):
    one, two = cluster.start(2)
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(Watch(one)) for _ in range(5)]
        never_reads = stack.enter_context(Watch(one, reads=False))
        for call in calls:
            call.until("synced")
        for i in range(100):
            put(two, f"k-{i}", "x" * 100_000)
        one.signal(signal.SIGTERM)
        for call in calls:
            code, text = call.end()
            assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE), f"{code}: {text}"
        equal(one.process.wait(20), 0)
        assert never_reads


@test
def watchers_of_both_kinds_are_counted_together(cluster):
    node = alone(cluster, "--max-watchers=2")
    with Watch(node) as first, watching.watch(node) as second:
        first.until("synced")
        second.until("synced")
        with Watch(node) as third:
            code, text = third.end()
            equal(code, grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        equal(node.get("/v1/watch").code, "overloaded")
        first.close()

        def admitted():
            with Watch(node) as another:
                try:
                    return another.next().kind == "synced"
                except Ended:
                    return False
        wait_for(admitted, 5, "room for another")


@test
def who_is_not_ready_has_nothing_to_watch(cluster):
    node = cluster.node()
    node.start()        # there is no etcd
    wait_for(lambda: node.get("/readyz").status == 503, 10, "it answers")
    with Watch(node) as call:
        code, text = call.end()
        equal(code, grpc.StatusCode.UNAVAILABLE)
        assert "not-ready" in text, text


if __name__ == "__main__":
    harness.main()
