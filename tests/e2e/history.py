"""The history checker: every answer that a client was given, and what must follow from it.

A Recorder stands between the tests and the daemons and notes writes, reads and readiness. The rules
are pure functions over what it noted, so that test_history.py can show each of them a falsified
history. They promise what CONTRACT and README promise, no more:

  lost         An acknowledged write is on every node, or something newer under its key, as long as
               one of the pods that held it when it was answered has been there ever since.
  resurrected  A deleted or expired key does not come back with an older value.
  invented     There is no value that nobody wrote.
  apart        In the end all nodes hold the same, at the same versions.
  backwards    At one node, what a reader sees of a key never goes back in version.
  unready      A node that says ready has all that was acknowledged by all before it was started.

A write that was refused (4xx, 503) must not be there. One whose answer never came may be.
"""

import base64
import collections
import dataclasses
import hashlib
import json
import math
import threading
import time
import urllib.parse

import harness
from harness import Rest, entry_path, wait_for

APPLIED, REFUSED, UNKNOWN = "applied", "refused", "unknown"
LONG_VALUE = 4096
EXPIRY_SLACK = 0.1      # seconds: the daemons count in milliseconds of another clock


@dataclasses.dataclass
class Write:
    """One put or delete, and its answer. Times are seconds of the monotonic clock."""
    node: str
    key: tuple              # (type, key)
    value: object           # bytes; None for a delete
    begin: float
    end: float = math.inf
    outcome: str = UNKNOWN
    version: str = ""       # empty when the answer did not come or was that of a batch
    holders: int = 0        # how many pods held it when it was answered
    by_all: bool = False    # asked for by ack=all and answered 200
    ttl: float = math.inf

    def may_be_gone(self, moment):
        """It may have expired by then."""
        return self.begin + self.ttl <= moment + EXPIRY_SLACK

    def is_gone(self, moment):
        """It has expired by then for sure."""
        return self.end + self.ttl + EXPIRY_SLACK <= moment

    def newer_than(self, other):
        """Certainly: by their versions, or else by time where one pod accepted both."""
        if self.version and other.version:
            return self.version > other.version
        return self.node == other.node and self.begin > other.end

    def __str__(self):
        what = "deleted" if self.value is None else f"put {self.value[:40]!r}"
        return f"{what} by {self.node} ({self.outcome}, {self.version or 'version unknown'})"


@dataclasses.dataclass
class Read:
    node: str               # and which run of it
    key: tuple
    version: str            # empty when it was not there
    begin: float
    end: float


# --- the rules ---

def stands(write, losses):
    """The write must outlive the losses: (time, node) of each copy that was lost."""
    if write.outcome != APPLIED:
        return False
    lost = {node for moment, node in losses if moment >= write.begin}
    return write.node not in lost or len(lost) < write.holders


def key_faults(key, held, writes, losses, looked, required=lambda write: True):
    """What is wrong with what one node holds under a key: (value, version), or None for nothing.
    looked: when that was seen, from and to. Only the `required` writes must be there."""
    must = [write for write in writes if required(write) and stands(write, losses)]
    may = [write for write in writes if write.outcome != REFUSED]
    if held is None:
        removers = [write for write in may if write.value is None or write.may_be_gone(looked[1])]
        lost = [write for write in must if all(write.newer_than(remover) for remover in removers)
                and write not in removers]
        return [f"lost {key}: {newest(lost)}"] if lost else []
    value, version = held
    sources = [write for write in may if write.value == value and write.version in ("", version)]
    if not sources:
        return [f"invented {key}: {value[:40]!r} at {version}"]
    if all(write.is_gone(looked[0]) for write in sources):
        return [f"resurrected {key}: it has expired, {sources[-1]}"]
    newer = [write for write in must
             if (write.version and write.version > version)
             or all(write.newer_than(source) for source in sources)]
    if not newer:
        return []
    first = newest(newer)
    kind = "resurrected" if first.value is None or first.is_gone(looked[0]) else "lost"
    return [f"{kind} {key}: {value[:40]!r} at {version} is held, but {first}"]


def newest(writes):
    return max(writes, key=lambda write: (write.version, write.begin))


def contents_faults(contents, writes, losses, looked, **which):
    """Over everything that one node holds: {key: (value, version)}. The rest as in key_faults."""
    by_key = collections.defaultdict(list)
    for write in writes:
        by_key[write.key].append(write)
    faults = []
    for key in by_key.keys() | contents.keys():
        faults += key_faults(key, contents.get(key), by_key[key], losses, looked, **which)
    return faults


def apart_faults(contents):
    """Between the nodes: {node: what it holds}."""
    (first, reference), *others = contents.items()
    return [f"apart {key}: {first} has {reference.get(key)}, {node} has {held.get(key)}"
            for node, held in others if held != reference
            for key in reference.keys() | held.keys() if reference.get(key) != held.get(key)]


def read_faults(reads):
    """Each key at each node is read by one reader after the other, never by two at once."""
    faults = []
    by_key = collections.defaultdict(list)
    for read in reads:
        by_key[read.node, read.key].append(read)
    for (node, key), some in by_key.items():
        seen, gone = "", False      # the greatest version so far; it was not there any more
        for read in sorted(some, key=lambda read: read.begin):
            if read.version and (read.version < seen or (gone and read.version == seen)):
                faults.append(f"backwards {key} at {node}: {read.version} after {seen}"
                              + (", which was gone" if gone else ""))
            gone = not read.version and (gone or seen != "")
            seen = max(seen, read.version)
    return faults


# --- noting what happens ---

class Recorder:
    """Notes what is asked of one cluster. All calls from any thread."""

    def __init__(self, cluster):
        self._cluster = cluster
        self._mu = threading.Lock()
        self.writes = []
        self.reads = []
        self.losses = []        # (time, node): its copy was lost from then on
        self.answers = collections.Counter()    # status, or "none" -> how many

    # Writes.

    def put(self, node, type_, key, value, rest=None, ttl=None, **query):
        if ttl is not None:
            query["ttl"] = f"{int(ttl * 1000)}ms"
        write = Write(node.name, (type_, key), _short(value), time.monotonic(),
                      ttl=ttl or math.inf)
        return self._write([write], node, rest, "PUT", entry_path(type_, key, **query), value)

    def delete(self, node, type_, key, rest=None, **query):
        write = Write(node.name, (type_, key), None, time.monotonic())
        return self._write([write], node, rest, "DELETE", entry_path(type_, key, **query))

    def batch(self, node, type_, values, rest=None, **query):
        """Puts {key: value}, both text, in one request."""
        now = time.monotonic()
        writes = [Write(node.name, (type_, key), _short(value.encode()), now)
                  for key, value in values.items()]
        path = "/v1/cache" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        body = json.dumps({"data": [{"type": type_, "data": values}]})
        return self._write(writes, node, rest, "POST", path, body)

    def load(self, node, count, type_=1, size=100, at_once=2000):
        """Puts k-0 .. k-<count-1> of `size` bytes."""
        with Rest(node.ip, timeout=30) as rest:
            for first in range(0, count, at_once):
                keys = range(first, min(first + at_once, count))
                answer = self.batch(node, type_, {f"k-{i}": f"{i:0{size}d}" for i in keys}, rest,
                                    timeout="20s")
                assert answer.status in (200, 202), answer

    def _write(self, writes, node, rest, *request):
        with self._mu:
            self.writes += writes
        try:
            answer = rest.request(*request) if rest else node.request(*request)
        except OSError:
            answer = None
        end = time.monotonic()
        assert answer is None or answer.status in (200, 202, 503, 507), answer
        with self._mu:
            self.answers[answer.status if answer else "none"] += 1
            for write in writes:
                _answered(write, answer, end)
        return answer

    def lost(self, node):
        """To be called before a copy is lost: the daemon killed, or its record taken away while it
        has not handed over."""
        with self._mu:
            self.losses.append((time.monotonic(), node.name))

    def kill(self, node):
        self.lost(node)
        node.kill()

    # Reads.

    def read(self, node, type_, key, rest):
        begin = time.monotonic()
        run = f"{node.name}, process {node.process.pid}"
        answer = rest.request("GET", entry_path(type_, key))
        assert answer.status in (200, 404, 503), answer
        if answer.status in (200, 404):
            version = answer.headers["ETag"].strip('"') if answer.status == 200 else ""
            with self._mu:
                self.reads.append(Read(run, (type_, key), version, begin, time.monotonic()))
        return answer

    # Readiness.

    def wait_ready(self, node, seconds=harness.READY_SECONDS):
        """Until it says ready, and then looks at once whether it may."""
        node.wait_ready(seconds)
        begin = time.monotonic()
        held = contents_of(node)
        with self._mu:
            writes, losses = list(self.writes), list(self.losses)
        faults = contents_faults(
            held, writes, losses, (begin, time.monotonic()),
            required=lambda write: write.by_all and write.end < node.started)
        _raise_if([f"unready: {node.name} says ready, {fault}" for fault in faults])

    # The end.

    def check(self, nodes, seconds=20):
        """Until all are equal, then everything must be as it was acknowledged. Returns the
        status."""
        expiring = [write.end + write.ttl for write in self.writes
                    if write.ttl != math.inf and write.end != math.inf]
        wait_for(lambda: time.monotonic() > max(expiring, default=0) + EXPIRY_SLACK, 60,
                 "everything with a TTL has expired")
        status = self._cluster.wait_same(nodes, seconds)
        begin = time.monotonic()
        contents = {node.name: contents_of(node) for node in nodes}
        looked = begin, time.monotonic()
        faults = apart_faults(contents) + read_faults(self.reads)
        judged = []
        for node, held in contents.items():
            if held in judged:  # as a rule all hold the same
                continue
            judged.append(held)
            faults += [f"on {node}: {fault}"
                       for fault in contents_faults(held, self.writes, self.losses, looked)]
        _raise_if(faults)
        return status

    def summary(self):
        answers = ", ".join(f"{count} x {status}" for status, count in
                            sorted(self.answers.items(), key=str))
        return f"{len(self.writes)} writes ({answers}), {len(self.reads)} reads"


def _answered(write, answer, end):
    write.end = end
    if answer is None:
        write.end = math.inf    # it may still be applied
        return
    if answer.status not in (200, 202):
        write.outcome = REFUSED if answer.status < 500 or answer.status in (503, 507) else UNKNOWN
        return
    said = answer.json()
    write.outcome = APPLIED
    write.version = said.get("version", "")
    write.holders = 1 + said["ack"]["acked"]
    write.by_all = answer.status == 200 and said["ack"]["required"] == "all"


def contents_of(node):
    """Everything that the listing shows: {(type, key): (value, version)}."""
    contents = {}
    with Rest(node.ip, timeout=60) as rest:
        types = rest.request("GET", "/v1/cache").json()["types"]
        for type_ in (entry["type"] for entry in types):
            cursor = ""
            while cursor is not None:
                query = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
                path = f"/v1/cache/{type_}?{urllib.parse.urlencode(query)}"
                answer = rest.request("GET", path)
                assert answer.status == 200, answer
                page = answer.json()
                for entry in page["entries"]:
                    assert (type_, entry["key"]) not in contents, f"listed twice: {entry['key']}"
                    contents[type_, entry["key"]] = (_value(entry), entry["version"])
                cursor = page.get("cursor")
    return contents


def _value(entry):
    if "value" in entry:
        return _short(entry["value"].encode())
    return _short(base64.b64decode(entry["value_base64"]))


def _short(value):
    """A stand-in for a value that is too long to keep."""
    if len(value) <= LONG_VALUE:
        return value
    return b"%d bytes, BLAKE2 " % len(value) + hashlib.blake2b(value).hexdigest().encode()


def _raise_if(faults):
    if faults:
        more = f"\n... and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise AssertionError("\n".join(faults[:10]) + more)
