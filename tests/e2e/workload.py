"""Clients that write to and read from the nodes of a cluster while a test does things to them."""

import collections
import itertools
import random
import statistics
import threading
import time

from harness import NotYet, Rest, entry_path, wait_for

PAUSE_SECONDS = 0.003   # between the requests of one client: the machine is the daemons' too
LEAST_MS = 5            # a write that takes less is never called slow: two busy cores make it so


class Workload:
    """One client for each node, from its add() on until its remove() or stop(). All that it is
    answered is noted by a history.Recorder.

    A client puts, overwrites and deletes keys that it shares with all other clients, some of them
    with a TTL, and reads others at its node. A node that does not answer is tried again."""

    def __init__(self, recorder, nodes=(), keys=200, type_=7, size=20, ttl=2.0, seed=1, **query):
        self._recorder, self._keys, self._type = recorder, keys, type_
        self._size, self._ttl, self._seed, self._query = size, ttl, seed, query
        self._clients = {}      # node name -> (thread, event that ends it)
        self._counts = {}       # node name -> requests that were answered
        self._error = None
        self._running = threading.Event()
        self._running.set()
        for node in nodes:
            self.add(node)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def add(self, node):
        over = threading.Event()
        thread = threading.Thread(target=self._run, args=(node, over), daemon=True)
        self._clients[node.name] = thread, over
        self._counts[node.name] = 0
        thread.start()

    def remove(self, node):
        thread, over = self._clients.pop(node.name)
        over.set()
        thread.join(30)
        assert not thread.is_alive(), f"the client of {node.name} hangs"

    def stop(self):
        """Ends every client; fails if one of them failed."""
        for _, over in self._clients.values():
            over.set()
        for name, (thread, _) in self._clients.items():
            thread.join(30)
            assert not thread.is_alive(), f"the client of {name} hangs"
        self._clients = {}
        if self._error:
            raise self._error

    def pause(self):
        """Until resume() nothing new is asked; what was asked already may still be answered."""
        self._running.clear()

    def resume(self):
        self._running.set()

    def go_on(self, seconds):
        """Lets the clients work for so long."""
        until = time.monotonic() + seconds
        wait_for(lambda: time.monotonic() > until, seconds + 5, "time goes on")

    def wait_answers(self, more, seconds=20):
        """Until each client was given so many answers more."""
        goals = {name: self._counts[name] + more for name in self._clients}

        def reached():
            behind = [name for name, goal in goals.items() if self._counts[name] < goal]
            if behind:
                raise NotYet(f"clients of {behind}")
            return True
        wait_for(reached, seconds, f"{more} answers more")

    def _run(self, node, over):
        # The order of what is asked does not depend on the other clients.
        choose = random.Random(f"{self._seed} {node.name}")
        try:
            with Rest(node.ip) as rest:
                while not over.wait(PAUSE_SECONDS):
                    if self._running.is_set():
                        self._step(node, rest, choose)
        except Exception as error:  # told by stop()
            self._error = error

    def _step(self, node, rest, choose):
        key = f"key-{choose.randrange(self._keys)}"
        what = choose.random()
        count = self._counts[node.name]
        value = f"{node.name} {count}".ljust(self._size).encode()
        try:
            if what < 0.3:
                answer = self._recorder.read(node, self._type, key, rest)
            elif what < 0.45:
                answer = self._recorder.delete(node, self._type, key, rest, **self._query)
            elif what < 0.55 and self._ttl:
                answer = self._recorder.put(node, self._type, key, value, rest, ttl=self._ttl,
                                            **self._query)
            else:
                answer = self._recorder.put(node, self._type, key, value, rest, **self._query)
        except OSError:     # a read; the recorder knows what to make of a write
            answer = None
        if answer is not None:
            self._counts[node.name] = count + 1


class Background:
    """Runs _work() in a thread of its own from __enter__ on; it has to return once _over is set.
    What it raises is raised by __exit__."""

    def __init__(self):
        self._over = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), f"a {type(self).__name__} hangs"
        if self._error:
            raise self._error

    def _run(self):
        try:
            self._work()
        except Exception as error:  # told by __exit__
            self._error = error


class Writer(Background):
    """Puts w-0, w-1, ... into one node as fast as one connection can, until told to stop."""

    def __init__(self, node, type_, **query):
        super().__init__()
        self.node, self.type, self.query = node, type_, query
        self.answers = collections.Counter()    # status -> how many
        self.slowest = 0.0                      # seconds
        self.count = 0                          # keys w-0 .. w-<count-1> were answered 2xx

    def _work(self):
        with Rest(self.node.ip) as rest:
            while not self._over.is_set():
                begin = time.monotonic()
                try:
                    path = entry_path(self.type, f"w-{self.count}", **self.query)
                    status = rest.request("PUT", path, b"x" * 100).status
                except OSError as error:
                    status = str(error)
                self.slowest = max(self.slowest, time.monotonic() - begin)
                self.answers[status] += 1
                if status in (200, 202):
                    self.count += 1


class Stopwatch(Background):
    """Calls put(rest, number) again and again and notes how long each call takes."""

    def __init__(self, node, put):
        super().__init__()
        self._node, self._put = node, put
        self.seconds = []

    def _work(self):
        with Rest(self._node.ip) as rest:
            while not self._over.wait(PAUSE_SECONDS):
                begin = time.monotonic()
                self._put(rest, len(self.seconds))
                self.seconds.append(time.monotonic() - begin)

    def usual(self):
        """What a call took in half of the time. Many quick ones at the end do not make up for slow
        ones before, each of which took the time of a hundred."""
        weights = [seconds + PAUSE_SECONDS for seconds in sorted(self.seconds)]
        passed = itertools.accumulate(weights)
        return next(weight for weight, at in zip(weights, passed)
                    if at >= sum(weights) / 2) - PAUSE_SECONDS

    def check_within(self, times, before):
        """Fails if it took more than so many times what it took `before`, in half of the time or
        for one out of ten."""
        for name, of in (("in half of the time a write took", Stopwatch.usual),
                         ("90 % of the writes took", lambda watch:
                          statistics.quantiles(watch.seconds, n=10)[8])):
            was, became = (of(watch) * 1000 for watch in (before, self))
            print(f"     {name} {was:.2f} ms before, {became:.2f} ms during")
            assert became <= max(times * was, LEAST_MS), f"{became:.2f} ms, {was:.2f} ms before"
