"""The local cluster behind deploy/local/up and deploy/local/down.

Node i is pod podmirror-<i> with the address 127.0.0.<i>. Everything that runs is known by its pid
file under .local/; what a pid file names is trusted only if its command line is ours. A cluster has
certificates, tokens and rules (trust.py) or has none of them, for as long as it is there.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pods
from trust import OPERATOR, Trust

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = ROOT / ".local"
DAEMON = ROOT / "build/podmirrord"
ETCD = pods.Etcd("127.0.0.1", 23790)
ETCD_PEER_PORT = 23791
START_SECONDS = 60      # for all nodes to become ready
SHOW_SECONDS = 10       # for a write to be seen everywhere
STOP_SECONDS = 15       # longer than the daemon's drain-timeout
REAP_SECONDS = 6
GREETING = "/v1/cache/1/greeting"


class Failure(Exception):
    """Says what went wrong; `log` is the file whose last lines tell more."""

    def __init__(self, message, log=None):
        super().__init__(message)
        self.log = log


class Process:
    """One program in the background, known by .local/<name>.pid, writing .local/<name>.log."""

    def __init__(self, name, mark):
        self.name = name
        self.mark = mark    # an argument that tells this process from any other
        self.pid_file = STATE / f"{name}.pid"
        self.log_file = STATE / f"{name}.log"
        self.child = None   # set when this run has started it

    def pid(self):
        """Of the running process, or None."""
        if self.child:
            return self.child.pid if self.child.poll() is None else None
        try:
            pid = int(self.pid_file.read_text())
            arguments = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self.mark.encode() in arguments else None

    def start(self, command, env=None):
        with open(self.log_file, "ab") as log:
            self.child = subprocess.Popen(command, env=env, cwd=STATE, stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, start_new_session=True)
        self.pid_file.write_text(f"{self.child.pid}\n")

    def signal(self, number):
        pid = self.pid()
        if pid:
            os.kill(pid, number)


def etcd_process():
    return Process("etcd", str(STATE / "etcd"))


class Node:
    def __init__(self, number, trust=None):
        self.number = number
        self.trust = trust      # None: without certificates
        self.name = f"podmirror-{number}"
        self.ip = f"127.0.0.{number}"
        self.rest, self.grpc = (f"{self.ip}:{port}" for port in ((8443, 7443) if trust
                                                                 else (8080, 7070)))
        self.url = f"http{'s' if trust else ''}://{self.rest}"
        self.process = Process(self.name, self.rest)
        self.record = None      # the pod record, once load_record has found it

    def load_record(self):
        stored = ETCD.get(pods.key_of(pods.new_record(self.name, self.ip)))
        self.record = json.loads(stored) if stored else None

    def write_started_record(self, started_at):
        if self.record:
            pods.set_restarted(self.record, started_at)
        else:
            self.record = pods.new_record(self.name, self.ip, started_at=started_at)
        ETCD.put_record(self.record)

    def write_ready_record(self):
        if not pods.is_ready(self.record):
            pods.set_ready(self.record, True)
            ETCD.put_record(self.record)

    def start(self):
        metadata = self.record["metadata"]
        env = dict(os.environ, POD_NAME=self.name, POD_NAMESPACE=metadata["namespace"],
                   POD_UID=metadata["uid"], POD_IP=self.ip)
        listen = self.trust.flags(self) if self.trust else [
            "--rest-listen", self.rest, "--grpc-listen", self.grpc]
        self.process.start(
            [str(DAEMON), *listen, "--etcd-endpoints", f"http://{ETCD.address}:{ETCD.port}",
             "--service", "podmirror"], env)

    def request(self, method, path, body=None, timeout=5, caller=OPERATOR):
        """(status, body); raises OSError when nobody answers."""
        if self.trust:
            connection, headers = self.trust.connect(self.ip, timeout, caller)
        else:
            connection = http.client.HTTPConnection(self.ip, 8080, timeout=timeout)
            headers = {}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(repr(error)) from error
        finally:
            connection.close()

    def get_json(self, path):
        status, body = self.request("GET", path)
        if status != 200:
            raise Failure(f"{self.name}: GET {path} answered {status}: {body}",
                          self.process.log_file)
        return json.loads(body)

    def check_alive(self):
        if not self.process.pid():
            raise Failure(f"{self.name} has ended", self.process.log_file)


def start_etcd():
    process = etcd_process()
    if process.pid() is None:
        for port in (ETCD.port, ETCD_PEER_PORT):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((ETCD.address, port))
                except OSError as error:
                    raise Failure(f"etcd's port {ETCD.address}:{port}: {error.strerror}") from error
        process.start(pods.etcd_command(STATE / "etcd", ETCD.address, ETCD.port, ETCD_PEER_PORT))
    deadline = time.monotonic() + START_SECONDS
    while not ETCD.healthy():
        if process.pid() is None:
            raise Failure("etcd has ended", process.log_file)
        if time.monotonic() > deadline:
            raise Failure("etcd does not become healthy", process.log_file)
        time.sleep(0.05)


def wait_ready(nodes):
    """Until all are ready, doing for their records what a kubelet does."""
    waiting = {node.name: node for node in nodes}
    deadline = time.monotonic() + START_SECONDS
    while waiting:
        for node in list(waiting.values()):
            node.check_alive()
            try:
                status, reason = node.request("GET", "/readyz", timeout=1)
            except OSError as error:
                status, reason = 0, str(error)
            if status == 200:
                if node.get_json("/v1/status")["uid"] != node.record["metadata"]["uid"]:
                    raise Failure(f"another program answers at {node.rest}")
                node.write_ready_record()
                del waiting[node.name]
            elif time.monotonic() > deadline:
                raise Failure(f"{node.name} is not ready after {START_SECONDS} s: {reason.strip()}",
                              node.process.log_file)
        time.sleep(0.05)


def show_main_job(nodes):
    """A PUT on the first node, GETs of it from all others."""
    value = f"hello from {nodes[0].name}, {pods.now()}"
    by = "  (the writer's token)" if nodes[0].trust else ""
    status, answer = nodes[0].request("PUT", GREETING, value, caller="writer")
    print(f"PUT {nodes[0].url}{GREETING}  <-  {value}{by}\n    {status} {answer.strip()}")
    if status not in (200, 202):
        raise Failure(f"{nodes[0].name} did not take the PUT", nodes[0].process.log_file)
    deadline = time.monotonic() + SHOW_SECONDS
    for node in nodes[1:]:
        while True:
            status, answer = node.request("GET", GREETING, caller="reader")
            if (status, answer) == (200, value):
                break
            if time.monotonic() > deadline:
                raise Failure(f"{node.name} does not have the entry: {status} {answer.strip()}",
                              node.process.log_file)
            time.sleep(0.02)
        print(f"GET {node.url}{GREETING}{by.replace('writer', 'reader')}\n    {status} {answer}")


def show_refusals(node):
    """A PUT of somebody who shows nothing, and one of somebody who may only read."""
    for caller, who, expected in ((None, "no token", 401), ("reader", "the reader's token", 403)):
        status, answer = node.request("PUT", GREETING, "not mine to write", caller=caller)
        print(f"PUT {node.url}{GREETING}  ({who})\n    {status} {answer.strip()}")
        if status != expected:
            raise Failure(f"{node.name} answered {status}, not {expected}", node.process.log_file)
    folder = node.trust.tls.relative_to(ROOT)
    print(f"\nTry it:  curl --cacert {folder}/ca.crt "
          f"-H \"Authorization: Bearer $(cat {folder}/reader.token)\" {node.url}{GREETING}\n"
          f"or with the operator's certificate:  curl --cacert {folder}/ca.crt "
          f"--cert {folder}/operator.crt --key {folder}/operator.key {node.url}/v1/tls")


def show_table(nodes):
    tls = " (TLS)" if nodes[0].trust else ""
    rows = [("NAME", f"REST{tls}", f"GRPC{tls}", "STATE", "ENTRIES", "DIGEST",
             "PEERS (oldest first)")]
    for node in nodes:
        status = node.get_json("/v1/status")
        peers = [peer["name"] for peer in node.get_json("/v1/peers")["peers"]]
        rows.append((node.name, node.rest, node.grpc, status["state"], str(status["entries"]),
                     status["digest"], " ".join(peers)))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def wait_equal(nodes):
    """Until all show the same digest and all others as peers; gives up quietly, because somebody
    else may be writing all the time: the table shows how it stands."""
    deadline = time.monotonic() + SHOW_SECONDS
    while time.monotonic() < deadline:
        digests = {node.get_json("/v1/status")["digest"] for node in nodes}
        streaming = [peer["state"] == "streaming" for node in nodes
                     for peer in node.get_json("/v1/peers")["peers"]]
        if len(digests) == 1 and len(streaming) == len(nodes) * (len(nodes) - 1) and all(streaming):
            return
        time.sleep(0.05)


def known_nodes():
    """Those that an earlier run has started, whether they still live or not."""
    return [int(path.stem.split("-")[1]) for path in STATE.glob("podmirror-*.pid")]


def load_trust(secure):
    """What the cluster has, or gets; a run without --secure leaves it as it is."""
    trust = Trust(STATE)
    if secure and known_nodes() and not trust.exists():
        raise Failure("the nodes that run have no certificates: deploy/local/down first")
    if not secure and not trust.exists():
        return None
    trust.make()
    return trust


def up(count, secure):
    STATE.mkdir(exist_ok=True)
    trust = load_trust(secure)
    start_etcd()
    nodes = [Node(number, trust) for number in range(1, max([count, *known_nodes()]) + 1)]
    for node in nodes:
        node.load_record()
        if trust:
            trust.make_for(node)
    missing = [node for node in nodes if node.process.pid() is None]
    # All records before all daemons, as in Kubernetes, and none Ready that does not run: a Ready
    # peer that nobody answers for would hold up the others. Kubernetes' times have whole seconds,
    # so the order of the nodes is made visible by starting times one second apart, also from those
    # that have been running for less than that.
    known = [pods.started_at(node.record) for node in nodes if node.record]
    start = max([pods.now(seconds_ago=len(missing) - 1), *(pods.later(when, 1) for when in known)])
    for offset, node in enumerate(missing):
        node.write_started_record(pods.later(start, offset))
    for node in missing:
        node.start()
    wait_ready(nodes)
    show_main_job(nodes)
    if trust:
        show_refusals(nodes[0])
    wait_equal(nodes)
    print(f"\n{len(nodes)} nodes run; their logs: .local/podmirror-<i>.log; "
          "to stop them: deploy/local/down")
    show_table(nodes)


def down():
    trust = Trust(STATE) if Trust(STATE).exists() else None
    processes = [Node(number, trust).process for number in known_nodes()]
    stop(processes)
    stop([etcd_process()])      # after the daemons, which would miss it
    shutil.rmtree(STATE)


def stop(processes):
    pids = [process.pid() for process in processes]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            process.signal(number)
        deadline = time.monotonic() + STOP_SECONDS
        while any(process.pid() for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
    for process in processes:
        if process.pid():
            raise Failure(f"{process.name} (pid {process.pid()}) does not end")
    # Ended, but in the table of processes until process 1 has seen it.
    deadline = time.monotonic() + REAP_SECONDS
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids if pid) \
            and time.monotonic() < deadline:
        time.sleep(0.05)


def main():
    try:
        if sys.argv[1] == "up":
            up(int(sys.argv[2]), "--secure" in sys.argv[3:])
        else:
            down()
    except (Failure, OSError) as failure:
        log = getattr(failure, "log", None)
        if log and log.exists():
            lines = log.read_text(errors="replace").splitlines()[-15:]
            print(f"--- end of {log.relative_to(ROOT)}", *lines, "---", sep="\n", file=sys.stderr)
        print(f"deploy/local/{sys.argv[1]}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
