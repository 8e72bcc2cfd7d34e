"""What the end-to-end tests share: real etcd, real daemons, pod records kept like a kubelet does.

A test program is a file test_*.py: functions marked with @test, then `harness.main()`. It moves
itself into a network and PID namespace of its own, with nothing but loopback: no address outside
can be dialled, ports never clash, and nothing survives the program. Each test gets a Cluster on
addresses of its own (127.0.<test>.<node>); bridge.py has one whose pods can be cut off.
"""

import collections
import functools
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
DAEMON = os.environ.get("PODMIRRORD", str(ROOT / "build/podmirrord"))

sys.path.insert(0, str(ROOT / "deploy/local"))
import pods  # noqa: E402  (found by the line above)

REST_PORT, GRPC_PORT, ETCD_PORT, ETCD_PEER_PORT = 8080, 7070, 2379, 2380
REST_TLS_PORT, GRPC_TLS_PORT, HEALTH_PORT = 8443, 7443, 8081     # where a test asks for them
READY_SECONDS = 20
ISOLATED = "PODMIRROR_E2E_ISOLATED"     # set once the program runs in its own namespaces
SCRATCH = "/run"    # there it has a file system of its own, for logs and named namespaces


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


class NotYet(OSError):
    """Raised by a condition of wait_for that is not true yet; its text says what it saw."""


_tests = []


def test(function=None, *, slow=False):
    """Marks a test; a slow one is left out by --quick."""
    def mark(function):
        _tests.append((function, slow))
        return function
    return mark(function) if function else mark


def wait_for(condition, seconds, what):
    """Polls until condition() is true and returns its value. OSError means not yet."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except OSError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what} (last seen: {last!r})")
        time.sleep(0.02)


def in_url(ip):
    """An address as it stands before a port."""
    return f"[{ip}]" if ":" in ip else ip


def equal(actual, expected, what=""):
    assert actual == expected, f"{what}: {actual!r}, expected {expected!r}"


class Answer(collections.namedtuple("Answer", "status headers body")):
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """The last part of a problem's type: urn:podmirror:<code>."""
        return self.json()["type"].rpartition(":")[2]


class Rest:
    """One HTTP connection to a daemon; with TLS when there is an SSLContext for it, and with a
    bearer token where there is one. Raises OSError when nobody answers."""

    def __init__(self, address, timeout=10, tls=None, token=None):
        self._shown = {"Authorization": f"Bearer {token}"} if token else {}
        if tls:
            self._http = http.client.HTTPSConnection(address, REST_TLS_PORT, timeout=timeout,
                                                     context=tls)
        else:
            self._http = http.client.HTTPConnection(address, REST_PORT, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        try:
            self._http.request(method, path, body, {**self._shown, **(headers or {})})
            answer = self._http.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        except http.client.HTTPException as error:
            self.close()
            raise OSError(repr(error)) from error
        except OSError:
            self.close()
            raise

    @property
    def socket(self):
        return self._http.sock

    def close(self):
        self._http.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Node:
    """A pod: its record in etcd and its daemon. The record changes only when a test says so."""

    def __init__(self, cluster, number, name=None, namespace="default"):
        self.cluster = cluster
        self.number = number
        self.ip = f"{cluster.net}.{number}"
        self.record = pods.new_record(name or f"podmirror-{number}", self.ip, namespace)
        self.log_file = cluster.directory / f"{self.name}.log"
        self.process = None
        self.started = None     # when the process was started last, of the monotonic clock
        self.prefix = []        # a command that becomes the daemon, such as nice
        self.tls = None         # an SSLContext: requests go to the TLS port
        self.token = None       # which requests show
        self._args = ()

    @property
    def name(self):
        return self.record["metadata"]["name"]

    @property
    def uid(self):
        return self.record["metadata"]["uid"]

    # The record.

    def write_record(self, ready=None):
        if ready is not None:
            pods.set_ready(self.record, ready)
        self.cluster.etcd.put_record(self.record)

    def delete_record(self):
        self.cluster.etcd.delete(pods.key_of(self.record))

    # The process.

    def command(self, *args):
        options = {"--rest-listen": f"{in_url(self.ip)}:{REST_PORT}",
                   "--grpc-listen": f"{in_url(self.ip)}:{GRPC_PORT}",
                   "--etcd-endpoints": self.cluster.etcd.url,
                   "--service": "podmirror",
                   "--bootstrap-timeout": "3s",
                   "--repair-interval": "1s",
                   "--drain-timeout": "5s"}
        flags = []
        for arg in args:
            arg = arg.replace("{ip}", in_url(self.ip)).replace("{name}", self.name)
            name, equals, value = arg.partition("=")
            options.pop(name, None)
            if value or not equals:
                flags += [name, value] if equals else [name]
        words = [word for option in options.items() for word in option]
        return [*self.prefix, DAEMON, *words, *flags]

    def env(self):
        metadata = self.record["metadata"]
        return dict(os.environ, POD_NAME=self.name, POD_NAMESPACE=metadata["namespace"],
                    POD_UID=self.uid, POD_IP=self.ip)

    def start(self, *args):
        """Starts the daemon; args such as "--ack=one" replace the harness's own, "--service=" takes
        one of those away; {ip} and {name} stand for the node's. Without args: those of the last
        start."""
        self._args = args or self._args
        self.started = time.monotonic()
        with open(self.log_file, "ab") as log:
            self.process = self.cluster.spawn(self.command(*self._args), self.ip, env=self.env(),
                                              stdout=log, stderr=log)

    def restart_record(self):
        """What a kubelet writes some time after it has started the container again: it is the
        youngest from then on, also when all this happens within a second."""
        newest = max(pods.started_at(node.record) for node in self.cluster.nodes)
        pods.set_restarted(self.record, max(pods.now(), pods.later(newest, 1)))
        self.write_record()

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, seconds=20):
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def wait_ready(self, seconds=READY_SECONDS):
        """Until /readyz says 200, then writes what a kubelet writes."""
        def ready():
            assert self.process.poll() is None, f"{self.name} ended: {self.process.returncode}"
            answer = self.get("/readyz")
            if answer.status != 200:
                raise NotYet(answer.body.decode(errors="replace"))
            return True
        wait_for(ready, seconds, f"{self.name} ready")
        self.write_record(ready=True)

    def wait_not_ready_because(self, text, seconds=10):
        """Until /readyz says 503 with a reason that contains `text`; returns the reason."""
        def reason():
            answer = self.get("/readyz")
            body = answer.body.decode(errors="replace")
            if answer.status != 503 or text not in body:
                raise NotYet(f"{answer.status} {body}")
            return body
        return wait_for(reason, seconds, f"{self.name} not ready because of {text!r}")

    def rss(self):
        """Resident bytes."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def log(self):
        """The log so far, a dict a line; fails on a line that is not JSON. What has no end yet is
        being written."""
        text = self.log_file.read_bytes() if self.log_file.exists() else b""
        return [json.loads(line) for line in text.split(b"\n")[:-1]]

    def events(self, event):
        return [line for line in self.log() if line.get("event") == event]

    # REST.

    def rest(self, timeout=10):
        return Rest(self.ip, timeout, self.tls, self.token)

    def request(self, method, path, body=None, headers=None, timeout=10):
        with self.rest(timeout) as rest:
            return rest.request(method, path, body, headers)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def put(self, type_, key, value, **query):
        return self.request("PUT", entry_path(type_, key, **query), value)

    def delete(self, type_, key, **query):
        return self.request("DELETE", entry_path(type_, key, **query))

    def value(self, type_, key):
        """The value, or None when it is not there."""
        answer = self.get(entry_path(type_, key))
        assert answer.status in (200, 404), answer
        return answer.body if answer.status == 200 else None

    def status(self):
        return self.get("/v1/status").json()

    def peers(self):
        return self.get("/v1/peers").json()["peers"]

    def peer(self, name):
        """What /v1/peers says of one peer, or None."""
        return next((peer for peer in self.peers() if peer["name"] == name), None)

    def wait_peer(self, name, state, seconds=10):
        """Until /v1/peers lists it in that state; returns what it says of it."""
        def reached():
            peer = self.peer(name)
            if peer is None or peer["state"] != state:
                raise NotYet(str(peer))
            return peer
        return wait_for(reached, seconds, f"{name} {state} at {self.name}")

    def metric(self, name):
        """The value of a metric line that begins with `name` (labels included), or None."""
        for line in self.get("/metrics").body.decode().splitlines():
            if line.startswith(name) and line[len(name):len(name) + 1] in (" ", "{"):
                return float(line.rsplit(" ", 1)[1])
        return None


def entry_path(type_, key, **query):
    path = f"/v1/cache/{type_}/{urllib.parse.quote(key)}"
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path


class BareNode(Node):
    """A daemon without Kubernetes: nobody keeps a record of it, and it knows of itself what its
    flags say. Its address may be an IPv6 one, which loopback gets."""

    def __init__(self, cluster, ip=None):
        super().__init__(cluster, len(cluster.nodes) + 1)
        if ip:
            self.ip = ip
            add_address(ip)
        cluster.nodes.append(self)

    def write_record(self, ready=None):
        pass

    def env(self):
        return {name: value for name, value in os.environ.items() if not name.startswith("POD_")}

    def start(self, *args):
        super().start(f"--pod-name={self.name}", *args)

    @property
    def address(self):
        return f"{in_url(self.ip)}:{GRPC_PORT}"


def add_address(ip):
    """Gives loopback an IPv6 address. It has all IPv4 ones that tests use."""
    subprocess.run(["ip", "-6", "addr", "replace", f"{ip}/128", "dev", "lo", "nodad"], check=True)


class EtcdServer(pods.Etcd):
    def __init__(self, cluster, address=None):
        super().__init__(address or f"{cluster.net}.250", ETCD_PORT)
        self.cluster = cluster
        self.url = f"http://{in_url(self.address)}:{self.port}"
        self.log_file = cluster.directory / "etcd.log"
        self.process = None

    def start(self, *args):
        command = pods.etcd_command(self.cluster.directory / "etcd", in_url(self.address),
                                    ETCD_PORT, ETCD_PEER_PORT, *args)
        with open(self.log_file, "ab") as log:
            self.process = self.cluster.spawn(command, self.address, stdout=log, stderr=log)
        wait_for(self.healthy, 20, "etcd healthy")

    def kill(self):
        self.process.kill()
        self.process.wait(10)


class Cluster:
    """One test's etcd and nodes."""

    def __init__(self, number, net="127.0"):
        self.net = f"{net}.{number}"
        scratch = SCRATCH if ISOLATED in os.environ else None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="podmirror-e2e-", dir=scratch))
        self.etcd = EtcdServer(self)
        self.nodes = []
        self._processes = []

    def spawn(self, command, _address, stdin=subprocess.DEVNULL, **options):
        """Starts a process that listens at the address."""
        process = subprocess.Popen(command, cwd=self.directory, stdin=stdin, **options)
        self._processes.append(process)
        return process

    def node(self, number=None, **options):
        """One more node: neither its record is written nor its daemon started. With the number of
        another one it has that one's address."""
        node = Node(self, number or len(self.nodes) + 1, **options)
        self.nodes.append(node)
        return node

    def find(self, name):
        return next(node for node in self.nodes if node.name == name)

    def start(self, count, *args, prepare=lambda node: None):
        """etcd and `count` ready nodes, whose records start one second apart in their order.
        prepare(node) is called before its daemon is started."""
        if self.etcd.process is None:
            self.etcd.start()
        nodes = [self.node() for _ in range(count)]
        for age, node in enumerate(reversed(nodes)):
            container = node.record["status"]["containerStatuses"][0]
            container["state"]["running"]["startedAt"] = pods.now(seconds_ago=age)
            node.write_record()
        for node in nodes:
            prepare(node)
            node.start(*args)
        for node in nodes:
            node.wait_ready()
        self.wait_streaming(nodes)
        return nodes

    def wait_streaming(self, nodes, seconds=10):
        """Until each of them has an open link to each other."""
        for node in nodes:
            others = {other.name for other in nodes if other is not node}
            wait_for(lambda: others <= {peer["name"] for peer in node.peers()
                                        if peer["state"] == "streaming"},
                     seconds, f"{node.name} streams to {sorted(others)}")

    def wait_same(self, nodes, seconds=10):
        """Until all hold the same: equal digests and numbers of entries. Returns the status."""
        def same():
            states = [node.status() for node in nodes]
            shown = {(state["digest"], state["entries"]) for state in states}
            return states[0] if len(shown) == 1 else None
        return wait_for(same, seconds, f"equal digests on {[node.name for node in nodes]}")

    def show_logs(self):
        for node in self.nodes:
            if node.log_file.exists():
                lines = node.log_file.read_text(errors="replace").splitlines()[-12:]
                print(f"     --- end of {node.name}.log", *lines, sep="\n     ")

    def close(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
        shutil.rmtree(self.directory)


def load(node, count, type_=1, size=100, batch=5000):
    """Puts keys k-0 .. k-<count-1> by POST batches."""
    with Rest(node.ip, timeout=30) as rest:
        for first in range(0, count, batch):
            data = {f"k-{i}": f"{i:0{size}d}" for i in range(first, min(first + batch, count))}
            answer = rest.request("POST", "/v1/cache?timeout=20s",
                                  json.dumps({"data": [{"type": type_, "data": data}]}))
            assert answer.status in (200, 202), answer


def main(isolated=True, cluster=Cluster):
    """Runs the tests of the calling program: [--quick] [PART OF A NAME]. The last line counts.
    Each gets a `cluster` of its own."""
    quick = "--quick" in sys.argv[1:]
    wanted = [arg for arg in sys.argv[1:] if arg != "--quick"]
    sys.stdout.reconfigure(line_buffering=True)
    if isolated:
        enter_namespaces()
    counts = collections.Counter()
    for number, (function, slow) in enumerate(_tests, start=1):
        if not wanted or any(part in function.__name__ for part in wanted):
            skipped = "slow, left out by --quick" if quick and slow else ""
            counts[_run(function, functools.partial(cluster, number), skipped)] += 1
    _count_line(counts)
    sys.exit(1 if counts["failed"] else 0)


def _run(function, new_cluster, skipped):
    cluster = None
    begin = time.monotonic()
    try:
        if skipped:
            raise Skip(skipped)
        cluster = new_cluster()
        function(cluster)
    except Skip as reason:
        print(f"skipped: {function.__name__}: {reason}")
        return "skipped"
    except Exception:   # a broken test must not stop the next one
        print(f"FAIL {function.__name__} ({time.monotonic() - begin:.1f} s)")
        print("     " + traceback.format_exc().replace("\n", "\n     ").rstrip())
        if cluster:
            cluster.show_logs()
        return "failed"
    finally:
        if cluster:
            cluster.close()
    print(f"ok   {function.__name__} ({time.monotonic() - begin:.1f} s)")
    return "passed"


def _count_line(counts):
    line = f"{counts['passed']} passed, {counts['failed']} failed"
    print(line + (f", {counts['skipped']} skipped" if counts["skipped"] else ""))


def enter_namespaces():
    """Runs this program anew, alone on a loopback and with a scratch folder of its own; everything
    that it starts or writes there is gone with it. Returns in the new one only."""
    if ISOLATED in os.environ:
        return
    unshare = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        unshare.append("--map-root-user")
    prepare = f"ip link set lo up && mount -t tmpfs tmpfs {SCRATCH} && "
    probe = subprocess.run([*unshare, "sh", "-c", prepare + "true"], capture_output=True, text=True,
                           check=False)
    if probe.returncode != 0:
        print(f"skipped: no network namespaces here: {probe.stderr.strip()}")
        _count_line({"passed": 0, "failed": 0, "skipped": len(_tests)})
        sys.exit(0)
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    env[ISOLATED] = "1"
    inner = ["sh", "-c", prepare + 'exec "$@"', "sh", sys.executable, "-B", *sys.argv]
    os.execvpe(unshare[0], [*unshare, *inner], env)
