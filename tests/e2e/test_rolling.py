#!/usr/bin/python3
"""A rolling update behind a proxy that learns late who is gone: no request fails."""

import collections
import contextlib
import http.client
import selectors
import signal
import socket
import threading
import time

import harness
import pods
from harness import REST_PORT, entry_path, equal, test, wait_for
from workload import Background

# How long the proxy goes on sending to a daemon that says it is not ready.
LATE_SECONDS = 2
CLIENTS = 8
PAUSE_SECONDS = 0.005


class Proxy:
    """Joins each connection to the next daemon that it believes is there, as a Service does. It
    asks /readyz all the time, and acts on a failure LATE_SECONDS later."""

    def __init__(self, ip):
        self.ip = ip
        self._listener = socket.create_server((ip, REST_PORT), backlog=128)
        self._over = threading.Event()
        self._mu = threading.Lock()
        self._known = {}        # node: since when it fails; None while it does not
        self._turn = 0
        for work in (self._accept, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def add(self, node):
        with self._mu:
            self._known[node] = None

    def forgets(self, node):
        """Waits until no connection is made to the node any more."""
        wait_for(lambda: node not in self._known, LATE_SECONDS + 5, f"{node.name} is forgotten")

    def close(self):
        self._over.set()
        self._listener.close()

    def _watch(self):
        while not self._over.wait(0.05):
            for node, since in list(self._known.items()):
                try:
                    ready = node.get("/readyz").status == 200
                except OSError:
                    ready = False
                with self._mu:
                    if ready:
                        self._known[node] = None
                    elif since is None:
                        self._known[node] = time.monotonic()
                    elif time.monotonic() - since > LATE_SECONDS:
                        del self._known[node]

    def _next(self):
        with self._mu:
            nodes = list(self._known)
            self._turn += 1
            return nodes[self._turn % len(nodes)]

    def _accept(self):
        while not self._over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client):
        with client:
            try:
                daemon = socket.create_connection((self._next().ip, REST_PORT), 10)
            except OSError:
                return      # which the client takes for a failed request
            with daemon, selectors.DefaultSelector() as selector:
                for end, other in ((client, daemon), (daemon, client)):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(end, selectors.EVENT_READ, other)
                while not self._over.is_set():
                    for key, _ in selector.select(1):
                        try:
                            if not (data := key.fileobj.recv(65536)):
                                return
                            key.data.sendall(data)
                        except OSError:
                            return


class Client(Background):
    """Writes and reads over one connection for as long as the daemon keeps it."""

    def __init__(self, proxy, number):
        super().__init__()
        self._proxy, self._number = proxy, number
        self.answers = collections.Counter()
        self.failures = []

    def _work(self):
        link = http.client.HTTPConnection(self._proxy.ip, REST_PORT, timeout=10)
        count = 0
        while not self._over.wait(PAUSE_SECONDS):
            path = entry_path(1, f"client-{self._number}-{count % 20}")
            value = f"{count}".encode()
            count += 1
            if self._ask(link, "PUT", path, value) is None:
                continue
            read = self._ask(link, "GET", path)
            if read is not None and read != value:
                self.failures.append(("GET", "another value", read, value))
        link.close()

    def _ask(self, link, method, path, body=None):
        """The answer's body; None when the request failed."""
        try:
            link.request(method, path, body)
            answer = link.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.failures.append((method, repr(error)))
            link.close()
            return None
        self.answers[answer.status] += 1
        if answer.status in (200, 202):
            return text
        self.failures.append((method, answer.status, text))
        return None


def leave(node):
    """As Kubernetes does it: the record says so, the process is told, and the record goes when the
    process is gone."""
    node.record["metadata"]["deletionTimestamp"] = pods.now()
    node.write_record()
    node.signal(signal.SIGTERM)


@test(slow=True)
def rolling_replacement_fails_no_request(cluster):
    settings = ("--drain-delay=5s", "--drain-timeout=20s", "--repair-interval=10s")
    running = cluster.start(3, *settings)
    proxy = Proxy(f"{cluster.net}.200")
    for node in running:
        proxy.add(node)
    clients = [Client(proxy, number) for number in range(CLIENTS)]
    with contextlib.closing(proxy), contextlib.ExitStack() as stack:
        for client in clients:
            stack.enter_context(client)
        for _ in range(3):
            fresh = cluster.node()
            fresh.write_record()
            fresh.start(*settings)
            fresh.wait_ready()
            proxy.add(fresh)
            running.append(fresh)
            leaving = running.pop(0)
            leave(leaving)
            equal(leaving.process.wait(20), 0, f"exit code of {leaving.name}")
            leaving.delete_record()
            proxy.forgets(leaving)
    answers = sum((client.answers for client in clients), collections.Counter())
    failures = [failure for client in clients for failure in client.failures]
    print(f"     {answers.total()} requests {dict(answers)}, {len(failures)} failed")
    equal(failures[:10], [], f"{len(failures)} of {answers.total()} failed")
    cluster.wait_same(running)


@test
def reads_stay_fresh_while_a_terminating_pod_still_serves(cluster):
    """The others drop it at once, and send it nothing any more."""
    one, two = cluster.start(2, "--drain-delay=5s", "--drain-timeout=20s", "--repair-interval=10s")
    leave(one)
    wait_for(lambda: two.peer(one.name) is None, 5, "it is dropped")
    for number in range(5):
        value = f"v{number}".encode()
        equal(two.put(1, "k", value).status, 200)
        wait_for(lambda value=value: one.value(1, "k") == value, 1, "what the other one wrote")
    equal(one.process.wait(20), 0)


@test
def successor_of_the_only_pod_is_ready_with_its_data(cluster):
    """The pod of a single replica is deleted: the next one starts while it still terminates."""
    (old,) = cluster.start(1, "--drain-delay=5s", "--drain-timeout=20s")
    for number in range(100):
        equal(old.put(1, f"k{number}", b"v").status, 200)
    leave(old)
    fresh = cluster.node()
    fresh.write_record()
    fresh.start()
    fresh.wait_ready()
    missing = [number for number in range(100) if fresh.value(1, f"k{number}") != b"v"]
    equal(missing, [], "entries that it does not have")
    equal(old.process.poll(), None, "the old one still serves")
    wait_for(lambda: fresh.peer(old.name) is None, 5, "it is nobody's peer")
    equal(old.process.wait(20), 0)


if __name__ == "__main__":
    harness.main()
