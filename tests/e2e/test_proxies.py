#!/usr/bin/python3
"""nginx and HAProxy in front of three daemons: nothing fails, also while the proxy is reloaded, and
connections do not pile up."""

import collections
import http.client
import itertools
import socket
import threading

import grpc

import harness
import stubs
import watching
from harness import equal, test, wait_for
from proxies import H2_PORT, HTTP_PORT, HaProxy, Nginx

NO_PROXY = [("grpc.enable_http_proxy", 0)]
# No more on its way than is read.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65536)]
CLIENTS = 8
REQUESTS = 3000
# To three daemons: those of 8 clients in each of four generations of a proxy, and the checks of a
# minute. One for each request would be thousands.
MOST_CONNECTIONS = 250
ENTRIES, ENTRY_BYTES = 400, 20_000
SOON_SECONDS = 5    # before the first bookmark, which might push out what was held back
FORM_TYPES = {watching.SSE: 1, watching.NDJSON: 2}

pb, pb_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")


class Clients:
    """Threads that put and get by REST at a proxy until `requests` are done, or stop()."""

    def __init__(self, proxy, requests, keep):
        self._proxy, self._keep = proxy, keep
        self._left = iter(range(requests)) if requests else itertools.count()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.done = 0
        self.failures = collections.Counter()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True)
                         for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self, seconds=100):
        for thread in self._threads:
            thread.join(seconds)
            assert not thread.is_alive(), "a client hangs"

    def stop(self):
        self._over.set()
        self.join()

    def _run(self, number):
        link = self._connect()
        headers = {} if self._keep else {"Connection": "close"}
        while not self._over.is_set():
            with self._lock:
                value = next(self._left, None)
            if value is None:
                break
            try:
                self._ask(link, number, b"%d" % value, headers)
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures[repr(error)[:200]] += 1
                link.close()
                link = self._connect()
            with self._lock:
                self.done += 1
        link.close()

    def _connect(self):
        return http.client.HTTPConnection(self._proxy.ip, HTTP_PORT, timeout=60)

    def _ask(self, link, number, value, headers):
        path = f"/v1/cache/1/client-{number}"
        statuses = []
        for method, query, body in (("PUT", "?timeout=20s", value), ("GET", "", None)):
            link.request(method, path + query, body, headers)
            answer = link.getresponse()
            content = answer.read()
            assert answer.status in (200, 202), f"{method}: {answer.status} {content[:100]}"
            statuses.append(answer.status)
        # Every daemon has what all have acknowledged, whichever the proxy asks. A busy machine may
        # put that off.
        assert statuses[0] == 202 or content == value, f"{content} instead of {value}"


def check_connections(proxy):
    """In every state, TIME-WAIT too."""
    found = collections.Counter(state for state, *_ in proxy.connections())
    print(f"     {proxy.program}: {dict(found)}")
    assert found["ESTAB"] > 0, f"none is kept: {found}"
    assert sum(found.values()) <= MOST_CONNECTIONS, found


def check_rest(cluster, kind):
    proxy = kind(cluster, cluster.start(3), f"{cluster.net}.100")
    clients = Clients(proxy, REQUESTS // 2, keep=True)
    clients.join()
    equal((clients.done, dict(clients.failures)), (REQUESTS // 2, {}))
    check_connections(proxy)

    # Each request on a connection of its own: who keeps one to a proxy that ends has to ask again.
    clients = Clients(proxy, None, keep=False)
    for _ in range(3):
        before = clients.done
        wait_for(lambda: clients.done > before + 50, 60, "some requests")
        proxy.reload()
    before = clients.done
    wait_for(lambda: clients.done > before + 50, 60, "requests after the last reload")
    clients.stop()
    equal(dict(clients.failures), {}, f"of {clients.done}")
    check_connections(proxy)


def stub(proxy, options=()):
    return pb_grpc.CacheStub(grpc.insecure_channel(f"{proxy.ip}:{H2_PORT}",
                                                   options=[*NO_PROXY, *options]))


def check_grpc(cluster, kind):
    proxy = kind(cluster, cluster.start(3), f"{cluster.net}.100")
    cache = stub(proxy)
    for i in range(REQUESTS // 4):
        value = b"%d" % i
        item = pb.SetItem(type=1, key="k", value=value)
        answer = cache.Set(pb.SetRequest(items=[item], options={"timeout_ms": 20_000}), timeout=60)
        got = cache.Get(pb.GetRequest(keys=[pb.Key(type=1, key="k")]), timeout=60)
        if answer.ack.met:
            equal([entry.value for entry in got.entries], [value])
    check_connections(proxy)

    # A stream that is not read is far from its end when the proxy is reloaded.
    harness.load(proxy.nodes[0], ENTRIES, type_=2, size=ENTRY_BYTES, batch=100)
    cluster.wait_same(proxy.nodes, seconds=30)
    stream = stub(proxy, SMALL_WINDOW).GetAll(pb.GetAllRequest(types=[2]), timeout=120)
    keys = [entry.key for entry in next(stream).entries]
    old = proxy.reload()
    got = stub(proxy).Get(pb.GetRequest(keys=[pb.Key(type=2, key="k-0")]), timeout=60)
    equal(got.entries[0].key, "k-0")
    assert old & proxy.workers(), "the stream had ended before"
    keys += [entry.key for message in stream for entry in message.entries]
    equal((len(keys), len(set(keys))), (ENTRIES, ENTRIES))


@test
def rest_through_nginx(cluster):
    check_rest(cluster, Nginx)


@test
def rest_through_haproxy(cluster):
    check_rest(cluster, HaProxy)


@test
def grpc_through_nginx(cluster):
    check_grpc(cluster, Nginx)


@test
def grpc_through_haproxy(cluster):
    check_grpc(cluster, HaProxy)


def check_watch(cluster, kind):
    """What changes is told at once, not when the proxy has gathered enough of it."""
    proxy = kind(cluster, cluster.start(3), f"{cluster.net}.100")
    for form in watching.FORMS:
        link = socket.create_connection((proxy.ip, HTTP_PORT), 10)
        path = watching.watch_path(initial="true", type=FORM_TYPES[form])
        with watching.Stream(link, path, {"Accept": form}) as stream:
            equal((stream.status, stream.form), (200, form))
            stream.until("synced", SOON_SECONDS)
            for i in range(20):
                watching.put(proxy.nodes[i % 3], f"k-{i}", type_=FORM_TYPES[form])
                equal(stream.next(SOON_SECONDS).data["key"], f"k-{i}")


@test
def watches_through_nginx(cluster):
    check_watch(cluster, Nginx)


@test
def watches_through_haproxy(cluster):
    check_watch(cluster, HaProxy)


if __name__ == "__main__":
    harness.main()
