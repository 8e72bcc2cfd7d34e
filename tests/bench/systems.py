"""What is measured: podmirror and its peers, three processes each, on loopback, with the CPU time
and the memory of all their processes."""

import json
import pathlib
import subprocess
import tempfile
import time

import certs
import harness
from harness import GRPC_PORT, REST_PORT, wait_for

REST_TLS_PORT, GRPC_TLS_PORT = 8443, 7443
BUILD = harness.ROOT / "build"
LOAD = BUILD / "tests/bench/load"     # the programs that load and watch
HTTP_SCRIPT = pathlib.Path(__file__).with_name("load") / "http.lua"
# As a user has it who sets nothing; the tests use shorter times.
DEFAULTS = ("--repair-interval=10s", "--bootstrap-timeout=30s", "--drain-timeout=10s",
            "--log-level=warn")


def cpu_seconds(pids):
    """What all threads of these processes have run so far, by the scheduler's nanoseconds. Threads
    that have ended are missing: none of the systems measured ends any under load."""
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def rss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no such process: {pid}")


class System:
    """Some processes that belong together."""

    def pids(self):
        raise NotImplementedError

    def cpu(self):
        return cpu_seconds(self.pids())


class Ours(System):
    """Daemons that find each other through a real etcd. That one is Kubernetes': not counted."""

    def __init__(self, number, count, *args):
        self.cluster = harness.Cluster(number)
        self.nodes = self.cluster.start(count, *DEFAULTS, *args)

    def pids(self):
        return [node.process.pid for node in self.nodes]

    @property
    def rest(self):
        return f"http://{self.nodes[0].ip}:{REST_PORT}"

    @property
    def grpc(self):
        return f"{self.nodes[0].ip}:{GRPC_PORT}"

    @property
    def rest_tls(self):
        """Where Secured serves REST over TLS."""
        return f"https://{self.nodes[0].ip}:{REST_TLS_PORT}"

    def add(self, *args):
        """One more daemon, started but not waited for; its pod record is there."""
        node = self.cluster.node()
        node.write_record()
        node.start(*DEFAULTS, *args)
        self.nodes.append(node)
        return node

    def remove(self, node):
        node.kill()
        node.delete_record()
        self.nodes.remove(node)
        self.cluster.nodes.remove(node)

    def fill(self, entries, value=100):
        return run_loader("grpc", self.grpc, entries=entries, keys=entries, value=value)

    def close(self):
        self.cluster.close()


class Secured(Ours):
    """The same with TLS, for clients and between the daemons."""

    def __init__(self, number, count):
        self.cluster = harness.Cluster(number)
        authority = certs.Authority(self.cluster.directory / "ca")
        own = authority.issue("node")
        self.cluster.etcd.start()
        self.nodes = [self.cluster.node() for _ in range(count)]
        for node in self.nodes:
            node.write_record()
            node.start(*DEFAULTS, f"--tls-cert={own.cert}", f"--tls-key={own.key}",
                       f"--tls-ca={authority.cert}", "--peer-tls=require",
                       f"--rest-tls-listen={node.ip}:{REST_TLS_PORT}",
                       f"--grpc-tls-listen={node.ip}:{GRPC_TLS_PORT}")
        for node in self.nodes:
            node.wait_ready()
        self.cluster.wait_streaming(self.nodes)


class Processes(System):
    """A peer: processes of one kind in a scratch folder."""

    def __init__(self, number):
        self.cluster = harness.Cluster(number)
        self.processes = []

    def spawn(self, name, command):
        folder = self.cluster.directory / name
        folder.mkdir()
        with open(folder / "log", "wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log,
                                       stderr=log)
        self.processes.append(process)
        return process

    def pids(self):
        return [process.pid for process in self.processes]

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.cluster.close()


class Etcd1(Processes):
    """One member: what one server does for those that watch it."""

    def __init__(self, number):
        super().__init__(number)
        ip = f"{self.cluster.net}.1"
        self.data = tempfile.TemporaryDirectory(prefix="podmirror-bench-", dir="/var/tmp")
        self.address = f"{ip}:2379"
        self.spawn("etcd", harness.pods.etcd_command(self.data.name, ip, 2379, 2380))
        wait_for(harness.pods.Etcd(ip, 2379).healthy, 30, "etcd healthy")

    def close(self):
        super().close()
        self.data.cleanup()


class Crowd:
    """A program of so many clients that watch. It is asked by a line what they were told."""

    def __init__(self, program, address, readers):
        self._process = subprocess.Popen([LOAD / program, address, "--readers", str(readers)],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._readers = readers
        wait_for(lambda: self.report()["synced"] == readers, 60, f"all of {program} watch")
        self._before = self.report()["events"]

    def report(self):
        self._process.stdin.write("report\n")
        self._process.stdin.flush()
        report = json.loads(self._process.stdout.readline())
        assert not report["errors"], report
        return report

    def wait_told(self, changes, seconds=60):
        """Until each was told of so many changes; none may have been left out."""
        expected = self._before + changes * self._readers
        wait_for(lambda: self.report()["events"] >= expected, seconds, "all are told")
        assert self.report()["events"] == expected, self.report()

    def close(self):
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Redis(Processes):
    """A master with two replicas, nothing on disk."""

    def __init__(self, number, replicas=2):
        super().__init__(number)
        for i in range(1, replicas + 2):
            self.start(i)
        for i in range(2, replicas + 2):
            self.wait_synced(i)

    def start(self, i):
        command = ["redis-server", "--bind", self.ip(i), "--save", "", "--appendonly", "no",
                   "--protected-mode", "no", "--repl-diskless-sync-delay", "0"]
        if i > 1:
            command += ["--replicaof", self.ip(1), "6379"]
        process = self.spawn(f"redis-{i}", command)
        wait_for(lambda: self.ask(i, "PING") == "PONG", 10, "redis answers")
        return process

    def ip(self, i):
        return f"{self.cluster.net}.{i}"

    @property
    def address(self):
        return f"{self.ip(1)}:6379"

    def ask(self, i, *words):
        answer = subprocess.run(["redis-cli", "-h", self.ip(i), *words], capture_output=True,
                                text=True, check=False)
        return answer.stdout.strip()

    def info(self, i, field):
        for line in self.ask(i, "INFO").splitlines():
            if line.startswith(field + ":"):
                return line.partition(":")[2].strip()
        return None

    def synced(self, i):
        return self.info(i, "master_link_status") == "up" and self.info(i, "loading") == "0"

    def wait_synced(self, i, seconds=60):
        wait_for(lambda: self.synced(i), seconds, "the replica has synced")

    def fill(self, entries, value=100):
        """Keys as bench_load has them."""
        body = "v" * value
        commands = "".join(f"SET key-{i:014d} {body}\r\n" for i in range(entries))
        subprocess.run(["redis-cli", "-h", self.ip(1), "--pipe"], input=commands.encode(),
                       stdout=subprocess.DEVNULL, check=True)


class Etcd3(Processes):
    """Three members. Their data is on a disk, as it is with everybody; our scratch folders are in
    memory."""

    def __init__(self, number):
        super().__init__(number)
        self.data = tempfile.TemporaryDirectory(prefix="podmirror-bench-", dir="/var/tmp")
        members = {f"m{i}": f"{self.cluster.net}.{i}" for i in (1, 2, 3)}
        cluster = ",".join(f"{name}=http://{ip}:2380" for name, ip in members.items())
        for name, ip in members.items():
            self.spawn(name, ["etcd", "--name", name, "--data-dir", f"{self.data.name}/{name}",
                              "--listen-client-urls", f"http://{ip}:2379",
                              "--advertise-client-urls", f"http://{ip}:2379",
                              "--listen-peer-urls", f"http://{ip}:2380",
                              "--initial-advertise-peer-urls", f"http://{ip}:2380",
                              "--initial-cluster", cluster, "--log-level", "error"])
        self.rest = wait_for(self._leader, 30, "etcd has a leader")

    def close(self):
        super().close()
        self.data.cleanup()

    def _leader(self):
        """The leader's URL: it answers fastest."""
        for i in (1, 2, 3):
            etcd = harness.pods.Etcd(f"{self.cluster.net}.{i}", 2379)
            status, body = etcd.request("POST", "/v3/maintenance/status", b"{}")
            answer = json.loads(body)
            if status == 200 and answer.get("leader") == answer["header"]["member_id"]:
                return f"http://{self.cluster.net}.{i}:2379"
        return None


def run_program(name, *words, **options):
    """Of those in LOAD; its report."""
    words += tuple(word for option, value in options.items()
                   for word in (f"--{option}", str(value)))
    done = subprocess.run([LOAD / name, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name} {words}: {done.stderr}"
    return check(json.loads(done.stdout), f"{name} {words}")


def run_loader(kind, address, **options):
    return run_program("bench_load", kind, address, **options)


def run_mirror(address, *words, **options):
    return run_program("bench_mirror", address, *words, **options)


def run_wrk(url, kind, seconds, connections, *, keys=100_000, value=100, batch=100):
    """wrk; its report."""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "-s", HTTP_SCRIPT,
         url, "--", kind, str(keys), str(value), str(batch)],
        capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert lines, f"wrk {url} {kind}: {done.stdout}{done.stderr}"
    return check(json.loads(lines[-1]), f"wrk {url} {kind}")


def run_redis_benchmark(redis, count, *, clients, command="set", pipeline=100, value=100,
                        keys=100_000):
    subprocess.run(["redis-benchmark", "-h", redis.ip(1), "-q", "-t", command, "-n", str(count),
                    "-c", str(clients), "-P", str(pipeline), "-d", str(value), "-r", str(keys)],
                   stdout=subprocess.DEVNULL, check=True)


def check(report, what):
    assert report["requests"] > 0 and report["errors"] == 0, f"{what}: {report}"
    return report


def settle(system, seconds=0.3, limit=10):
    """Until the system is idle: what one measurement has left over is not counted in the next."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = system.cpu()
        time.sleep(seconds)
        if system.cpu() - before < 0.02 * seconds:
            return


def run_until_undisturbed(run, limit=30):
    """Runs it until the host of a virtual machine takes no time from us meanwhile. For some seconds
    after a large process has ended it does: the process's memory goes back to the host."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        before = stolen()
        run()
        if stolen() == before:
            return


def stolen():
    return int(pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])
