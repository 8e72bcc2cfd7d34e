#!/usr/bin/python3
"""Services that know hellorpc.proto and nothing else: this file speaks to the daemon through the
code that protoc generates from it for Python."""

import concurrent.futures
import threading

import grpc

import harness
import pods
import stubs
from harness import GRPC_PORT, equal, test, wait_for

NO_PROXY = [("grpc.enable_http_proxy", 0)]


pb, pb_grpc = stubs.generate("proto/hellorpc", "hellorpc.proto")


def client(node):
    return pb_grpc.SyncStub(grpc.insecure_channel(f"{node.ip}:{GRPC_PORT}", options=NO_PROXY))


def request(*items):
    return pb.SyncRequest(data=[pb.SyncData(type=type_, data=data) for type_, data in items])


def as_dict(response):
    """{type: {key: value}}, items of the same type merged."""
    merged = {}
    for item in response.data:
        merged.setdefault(item.type, {}).update(item.data)
    return merged


class OldService(pb_grpc.SyncServicer):
    """A pod of the old kind: a map, and no idea of podmirror.v1."""

    def __init__(self, address, data):
        self._lock = threading.Lock()
        self._data = {type_: dict(entries) for type_, entries in data.items()}
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4),
                                   options=[("grpc.so_reuseport", 0)])
        pb_grpc.add_SyncServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(f"{address}:{GRPC_PORT}")
        self._server.start()

    def stop(self):
        self._server.stop(0).wait(5)

    def value(self, type_, key):
        with self._lock:
            return self._data.get(type_, {}).get(key)

    def Get(self, request, context):
        with self._lock:
            return pb.SyncResponse(data=[
                pb.SyncData(type=item.type, data={
                    key: self._data[item.type][key] for key in item.data
                    if key in self._data.get(item.type, {})}) for item in request.data])

    def Set(self, request, context):
        with self._lock:
            for item in request.data:
                self._data.setdefault(item.type, {}).update(item.data)
        return pb.SyncResponse(data=request.data)

    def GetAll(self, request, context):
        with self._lock:
            types = [item.type for item in request.data] or list(self._data)
            return pb.SyncResponse(data=[
                pb.SyncData(type=type_, data=self._data.get(type_, {})) for type_ in types])


def old_pod(cluster, data):
    """An old service, listed as the oldest, Ready pod."""
    ip = f"{cluster.net}.100"
    service = OldService(ip, data)
    record = pods.new_record("podmirror-old", ip, started_at=pods.now(3600))
    pods.set_ready(record, True)
    cluster.etcd.put_record(record)
    return service


@test
def client_sets_gets_and_gets_all(cluster):
    one, two = cluster.start(2)
    sync = client(one)
    data = ((1, {"a": "1", "b": "zwei"}), (-7, {"a": "minus"}))
    equal(as_dict(sync.Set(request(*data), timeout=5)), dict(data), "the echo of Set")
    equal(as_dict(sync.Get(request((1, {"a": "", "absent": ""}), (2, {"a": ""})), timeout=5)),
          {1: {"a": "1"}, 2: {}})
    one.put(1, "by-rest", "grüße".encode())
    one.put(1, "bytes", b"\xff\xfe")
    equal(as_dict(sync.GetAll(request((1, {})), timeout=5)),
          {1: {"a": "1", "b": "zwei", "by-rest": "grüße"}}, "without what is not UTF-8")
    everything = as_dict(sync.GetAll(request(), timeout=5))
    equal(everything[-7], {"a": "minus"})
    equal(one.value(-7, "a"), b"minus")
    # Its caller tells the others itself: Set is not sent on at once. Repair may bring it later.
    equal(as_dict(client(two).Set(request(*data), timeout=5)), dict(data))
    cluster.wait_same([one, two])


@test
def bad_requests_get_an_error_and_change_nothing(cluster):
    one, = cluster.start(1)
    sync = client(one)
    for key in ("", "k" * 513):
        try:
            sync.Set(request((1, {"good": "v", key: "v"})), timeout=5)
            raise AssertionError(f"a key of {len(key)} bytes was taken")
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
    equal(one.status()["entries"], 0)


@test
def daemon_starts_from_an_old_service_and_feeds_it(cluster):
    cluster.etcd.start()
    service = old_pod(cluster, {1: {f"k-{i}": f"v-{i}" for i in range(500)}, 2: {"x": "ü"}})
    try:
        one, two = cluster.start(2)
        equal((one.value(1, "k-499"), two.value(2, "x")), (b"v-499", "ü".encode()))
        equal(cluster.wait_same([one, two])["entries"], 501)
        peer = one.peer("podmirror-old")
        equal((peer["protocol"], peer["state"]), ("hellorpc", "legacy"))
        # At least one copied from it; the other from that one, if it was later.
        donors = {node.status()["bootstrap"]["donor"] for node in (one, two)}
        assert "podmirror-old" in donors, donors

        equal(one.put(1, "new", b"value").status, 200)
        wait_for(lambda: service.value(1, "new") == "value", 5, "a PUT at the old service")
        equal(two.put(1, "k-0", b"changed").status, 200)
        wait_for(lambda: service.value(1, "k-0") == "changed", 5, "a change at the old service")
        equal(one.value(1, "k-0"), b"changed")
        equal(service.value(1, "k-1"), "v-1")
    finally:
        service.stop()


@test
def old_service_that_comes_back_is_fed_again(cluster):
    cluster.etcd.start()
    service = old_pod(cluster, {})
    try:
        one, = cluster.start(1)
        service.stop()
        for i in range(10):
            one.put(1, f"k-{i}", b"v", ack="local")
        service = OldService(f"{cluster.net}.100", {})
        wait_for(lambda: all(service.value(1, f"k-{i}") == "v" for i in range(10)), 15,
                 "everything at the old service again")
    finally:
        service.stop()


@test
def server_reflection_and_health_are_on(cluster):
    one, = cluster.start(1)
    channel = grpc.insecure_channel(f"{one.ip}:{GRPC_PORT}", options=NO_PROXY)
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    serving = b"\x08\x01"   # HealthCheckResponse{status: SERVING}
    wait_for(lambda: check(b"", timeout=5) == serving, 5, "gRPC health says serving")
    reflect = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    answer = next(reflect(iter([b"\x3a\x00"]), timeout=5))     # list_services: ""
    for service in (b"hellorpc.Sync", b"podmirror.v1.Cache", b"podmirror.v1.Peer"):
        assert service in answer, answer


if __name__ == "__main__":
    harness.main()
