"""Clients of GET /v1/watch: a stream that is read event by event, and what a program that watches
makes of the events."""

import collections
import json
import re
import socket
import time
import urllib.parse

import harness
from harness import REST_PORT, equal

SSE, NDJSON = "text/event-stream", "application/x-ndjson"
FORMS = (SSE, NDJSON)
TOKEN = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}")

Event = collections.namedtuple("Event", "kind id data")


class Ended(Exception):
    """The stream is over, and whole: its last chunk came, or what has none was closed."""


class Cut(Exception):
    """The connection broke in the middle of the stream."""


def watch_path(**query):
    """`type` may be a list, `since` None."""
    query = {name: value for name, value in query.items() if value is not None}
    return "/v1/watch" + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")


class Stream:
    """One request on a connection of its own, and the body of the answer line by line."""

    def __init__(self, link, path, headers=None, version="1.1"):
        self.link = link
        self.retry = None           # what the stream says of EventSource's pause
        self.over = False
        self._raw, self._body = b"", b""
        self._fields = {}           # of the event that is being read
        self._deadline = time.monotonic() + 10
        lines = [f"GET {path} HTTP/{version}", "Host: x",
                 *(f"{name}: {value}" for name, value in (headers or {}).items())]
        link.sendall("\r\n".join([*lines, "", ""]).encode())
        head = self._head()
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value for name, _, value in
                        (line.partition(": ") for line in head[1:])}
        self._chunked = self.headers.get("transfer-encoding") == "chunked"
        self._decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.link.close()

    @property
    def form(self):
        return self.headers["content-type"].partition(";")[0]

    def next(self, seconds=10):
        """The next event. Raises Ended or Cut when there is none any more."""
        self._deadline = time.monotonic() + seconds
        return self._next_line() if self.form == NDJSON else self._next_block()

    def until(self, kind, seconds=10):
        """All events up to the next of that kind, that one included."""
        events = [self.next(seconds)]
        while events[-1].kind != kind:
            events.append(self.next(seconds))
        return events

    def rest(self, seconds=10):
        """All events up to the end of the stream, which has to come."""
        events = []
        try:
            while True:
                events.append(self.next(seconds))
        except Ended:
            return events

    def _next_line(self):
        fields = json.loads(self._line())
        return Event(fields.pop("event"), fields.pop("id"), fields)

    def _next_block(self):
        while True:
            line = self._line().decode()
            name, _, value = line.partition(": ")
            if name == "retry":
                self.retry = int(value)
            elif line:
                assert name in ("event", "id", "data") and name not in self._fields, line
                self._fields[name] = value
            elif self._fields:
                fields, self._fields = self._fields, {}
                return Event(fields["event"], fields["id"], json.loads(fields["data"]))

    def _line(self):
        while b"\n" not in self._body:
            self._receive()
        line, _, self._body = self._body.partition(b"\n")
        return line

    def _head(self):
        while b"\r\n\r\n" not in self._raw:
            self._read()
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        return head.decode().split("\r\n")

    def _receive(self):
        if self.over:
            equal((self._body, self._fields), (b"", {}), "an event without its end")
            raise Ended
        if self._read():
            self._decode()
        elif self._chunked:
            raise Cut
        else:
            self.over = True

    def _read(self):
        self.link.settimeout(max(self._deadline - time.monotonic(), 0.001))
        try:
            data = self.link.recv(1 << 16)
        except TimeoutError:
            raise AssertionError(f"nothing came in time; before: {self._fields}") from None
        except ConnectionError as error:
            raise Cut from error
        self._raw += data
        return len(data)

    def _decode(self):
        if not self._chunked:
            self._body, self._raw = self._body + self._raw, b""
            return
        while not self.over:
            size, _, rest = self._raw.partition(b"\r\n")
            if not rest or len(rest) < int(size, 16) + 2:
                return
            count = int(size, 16)
            equal(rest[count:count + 2], b"\r\n", "the end of a chunk")
            self._body, self._raw = self._body + rest[:count], rest[count + 2:]
            self.over = count == 0


def connect(node, receive_bytes=None):
    """A connection to its REST port; what the kernel takes for it may be small."""
    link = socket.socket()
    if receive_bytes:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    link.settimeout(10)
    link.connect((node.ip, REST_PORT))
    return link


def watch(node, form=SSE, headers=None, version="1.1", link=None, **query):
    """A watch that has begun: the head of its answer is there."""
    stream = Stream(link or connect(node), watch_path(**query),
                    {"Accept": form, **(headers or {})}, version)
    equal((stream.status, stream.form), (200, form))
    return stream


class Mirror:
    """What a program makes of the events: the entries of the daemon, whatever happened to the
    stream. No version may go back but by a reset."""

    def __init__(self):
        self.entries = {}       # (type, key) -> (value as JSON has it, version)
        self.id = None          # of the last event
        self.counts = collections.Counter()
        self._versions = {}     # (type, key) -> version, of what is deleted, too

    def apply(self, event):
        self.id = event.id
        self.counts[event.kind] += 1
        if event.kind == "reset":
            self.entries, self._versions = {}, {}
        elif event.kind in ("put", "delete"):
            self._change(event)
        else:
            assert event.kind in ("synced", "bookmark"), event

    def _change(self, event):
        name, version = (event.data["type"], event.data["key"]), event.data["version"]
        assert version >= self._versions.get(name, ""), f"{event} after {self._versions[name]}"
        self._versions[name] = version
        if event.kind == "delete":
            self.entries.pop(name, None)
        else:
            self.entries[name] = value_of(event.data), version

    def follow(self, stream, done, seconds=10):
        """Takes events until done()."""
        deadline = time.monotonic() + seconds
        while not done():
            self.apply(stream.next(deadline - time.monotonic()))

    def follow_until_equal(self, stream, node, seconds=20):
        """Until it holds what the daemon lists, which changes no more."""
        listed = listing(node)
        try:
            self.follow(stream, lambda: self.entries == listed, seconds)
        except AssertionError as error:
            missing = sorted(listed.items() - self.entries.items())
            stale = sorted(self.entries.items() - listed.items())
            raise AssertionError(f"missing {missing[:3]}, stale {stale[:3]}") from error


def value_of(data):
    return data["value"] if "value" in data else ("base64", data["value_base64"])


def listing(node):
    """(type, key) -> (value, version) of all that the daemon has."""
    found = {}
    for type_ in (item["type"] for item in node.get("/v1/cache").json()["types"]):
        cursor = {}
        while True:
            page = node.get(f"/v1/cache/{type_}?" + urllib.parse.urlencode(
                {"limit": 10_000, **cursor})).json()
            for entry in page["entries"]:
                found[type_, entry["key"]] = value_of(entry), entry["version"]
            if "cursor" not in page:
                break
            cursor = {"cursor": page["cursor"]}
    return found


def alone(cluster, *args):
    """A daemon without others, ready."""
    node = harness.BareNode(cluster)
    node.start("--discovery=none", "--service=", *args)
    node.wait_ready()
    return node


def put(node, key, value="v", type_=1, **query):
    """Its version."""
    answer = node.put(type_, key, value.encode() if isinstance(value, str) else value, **query)
    equal(answer.status, 200)
    return answer.json()["version"]


def changes(events):
    """(kind, type, key, value) of those that tell of an entry."""
    return [(event.kind, event.data["type"], event.data["key"],
             value_of(event.data) if event.kind == "put" else event.data["reason"])
            for event in events if event.kind in ("put", "delete")]
