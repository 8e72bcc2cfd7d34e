#!/usr/bin/python3
"""The daemon as a process: settings, exit codes, ports, signals, logs, metrics."""

import datetime
import os
import signal
import socket
import subprocess

import harness
from harness import DAEMON, ROOT, equal, test, wait_for


def run(*args, **env):
    """A daemon that is expected to end by itself: (exit code, stdout, stderr)."""
    done = subprocess.run([DAEMON, *args], env={**os.environ, **env}, capture_output=True,
                          text=True, timeout=20, check=False)
    return done.returncode, done.stdout, done.stderr


def check_refused(name, *args, **env):
    """Exit 2 and one line on stderr that names the setting."""
    code, stdout, stderr = run(*args, **env)
    equal(code, 2, f"{args} {env}: {stderr}")
    equal(len(stderr.strip().splitlines()), 1, f"lines on stderr: {stderr!r}")
    assert name in stderr, f"{stderr!r} does not name {name}"
    assert '"event":"started"' not in stdout.replace(" ", ""), stdout


@test
def bad_settings_are_refused(cluster):
    service = ("--service", "podmirror", "--namespace", "default")
    check_refused("no-such-flag", *service, "--no-such-flag", "1")
    check_refused("rest-listen", *service, "--rest-listen", "nonsense")
    check_refused("grpc-listen", *service, "--grpc-listen", "127.0.0.1:99999")
    check_refused("ack", *service, "--ack", "some")
    check_refused("ack-timeout", *service, "--ack-timeout", "5 parsecs")
    check_refused("max-value-bytes", *service, "--max-value-bytes", "49MiB")
    check_refused("max-memory", *service, "--max-memory", "-1")
    check_refused("discovery", *service, "--discovery", "telepathy")
    check_refused("etcd-endpoints", *service, "--etcd-endpoints", "ftp://x")
    check_refused("service", "--namespace", "default")
    check_refused("selector", "--selector", "a in (", "--namespace", "default")
    check_refused("config", *service, "--config", "/no/such/file")
    check_refused("config", *service, "--config=")
    check_refused("bootstrap-alone", *service, "--bootstrap-alone=")
    check_refused("nonsense", *service, "--nonsense=a\nb")
    check_refused("log-level", *service, PODMIRROR_LOG_LEVEL="chatty")


@test
def files_and_their_precedence(cluster):
    file = cluster.directory / "podmirrord.toml"
    file.write_text('service = "podmirror"\nno-such-key = 1\n')
    check_refused("no-such-key", "--config", str(file))
    file.write_text("service = [broken\n")
    check_refused("config", "--config", str(file))
    # The flag wins over the environment, which wins over the file: only what counts is checked.
    file.write_text('service = "podmirror"\nack = "one"\nack-timeout = "2s"\n')
    equal(run("--config", str(file), "--check-config")[0], 0)
    equal(run("--config", str(file), "--check-config", PODMIRROR_ACK="majority")[0], 0)
    check_refused("ack", "--config", str(file), "--check-config", PODMIRROR_ACK="nonsense")
    # What Kubernetes injects for a Service called podmirror is not ours to complain about.
    equal(run("--config", str(file), "--check-config", PODMIRROR_PORT="tcp://10.0.0.1:80",
              PODMIRROR_SERVICE_HOST="10.0.0.1")[0], 0)
    equal(run("--config", str(ROOT / "config/podmirrord.toml"), "--check-config")[0], 0)


@test
def a_service_link_with_a_settings_name_is_told_once(cluster):
    node = cluster.node()
    node.prefix = ["env", "PODMIRROR_PEER_PORT=tcp://10.0.0.1:7070"]
    node.start("--discovery=none", "--service=")
    wait_for(lambda: node.get("/readyz").status == 200, 10, "ready")
    warning, = node.events("setting_ignored")
    equal(warning["level"], "warn")
    assert "PODMIRROR_PEER_PORT" in warning["msg"], warning


@test
def second_daemon_on_a_port_is_refused(cluster):
    one, = cluster.start(1)
    for taken, free in (("--rest-listen", "--grpc-listen"), ("--grpc-listen", "--rest-listen")):
        port = harness.REST_PORT if taken == "--rest-listen" else harness.GRPC_PORT
        address = f"{one.ip}:{port}"
        code, stdout, stderr = run("--discovery", "none", taken, address,
                                   free, f"{cluster.net}.99:9999")
        equal(code, 1, stdout + stderr)
        assert address in stdout + stderr, stdout + stderr
    equal(one.get("/readyz").status, 200)


@test
def stops_clean_on_both_signals(cluster):
    for number in (signal.SIGTERM, signal.SIGINT):
        node = cluster.node()
        node.start("--discovery=none", "--service=")
        wait_for(lambda: node.get("/readyz").status == 200, 10, "ready")
        node.signal(number)
        equal(node.process.wait(10), 0)
        equal([line["event"] for line in node.log() if line.get("event") == "stopped"],
              ["stopped"])


@test
def log_lines_are_json_with_the_promised_fields(cluster):
    one, two = cluster.start(2)
    one.put(1, "k", b"a value that is nobody's business")
    two.kill()
    wait_for(lambda: one.events("peer_lost"), 10, "peer_lost in the log")
    two.delete_record()
    wait_for(lambda: one.events("peer_removed"), 10, "peer_removed in the log")
    equal(one.terminate(), 0)
    lines = one.log()
    for line in lines:
        assert {"ts", "level", "msg", "event"} <= line.keys(), line
        moment = datetime.datetime.strptime(line["ts"], "%Y-%m-%dT%H:%M:%S.%fZ")
        equal(line["ts"], moment.strftime("%Y-%m-%dT%H:%M:%S.") + line["ts"][20:23] + "Z")
    events = {line["event"] for line in lines}
    missing = {"started", "peer_added", "peer_removed", "ready", "peer_connected", "peer_lost",
               "draining", "stopped"} - events
    assert not missing, f"{missing} not in the log, which has {events}"
    # Who of two that start together copies from whom is decided by which process came up first.
    copied = {line["event"] for node in (one, two) for line in node.log()}
    assert {"bootstrap_started", "bootstrap_done"} <= copied, copied
    assert "nobody's business" not in one.log_file.read_text()


@test
def metrics_are_there(cluster):
    one, two = cluster.start(2)
    one.put(1, "k", b"v")
    equal(one.metric("podmirror_entries"), 1)
    equal(one.metric("podmirror_ready"), 1)
    equal(one.metric('podmirror_peers{state="streaming"}'), 1)
    assert one.metric("podmirror_bytes") > 0
    text = one.get("/metrics").body.decode()
    for name in ("podmirror_tombstones", "podmirror_rest_request_seconds_bucket",
                 "podmirror_replication_lag_seconds", "podmirror_behind_bytes",
                 "podmirror_bootstrap_seconds", "podmirror_discovery_events_total",
                 "podmirror_discovery_healthy"):
        assert f"\n{name}" in text, f"{name} is missing"


@test
def static_peers_need_no_etcd(cluster):
    nodes = [cluster.node() for _ in range(3)]
    peers = ",".join(f"{node.ip}:{harness.GRPC_PORT}" for node in nodes)
    for node in nodes:
        node.start("--discovery=static", f"--peers={peers}", "--service=", "--cluster=test",
                   "--etcd-endpoints=")
    for node in nodes:
        wait_for(lambda: node.get("/readyz").status == 200, 20, f"{node.name} ready")
    for node in nodes:
        wait_for(lambda: [peer["state"] for peer in node.peers()] == ["streaming"] * 2, 10,
                 f"two peers of {node.name}")
    equal(nodes[0].put(1, "k", b"v").status, 200)
    equal([node.value(1, "k") for node in nodes], [b"v"] * 3)


@test
def a_static_daemon_knows_its_own_address(cluster):
    node = cluster.node()
    node.prefix = ["env", "--unset=POD_IP"]
    node.start("--discovery=static", f"--peers={node.ip}:{harness.GRPC_PORT}", "--service=",
               "--cluster=test")
    wait_for(lambda: node.get("/readyz").status == 200, 10, "ready")
    equal(node.events("peer_added"), [])


@test
def another_cluster_on_the_same_network_is_refused(cluster):
    one, two = cluster.start(2)
    stranger = cluster.node()
    stranger.write_record()
    stranger.start("--cluster=another")
    one.wait_peer(stranger.name, "refused")
    assert one.events("peer_refused"), "no peer_refused in the log"
    equal(stranger.get("/readyz").status, 503)
    answer = one.put(1, "k", b"v")
    equal((answer.status, answer.json()["ack"]["peers"]), (200, 1))
    equal(two.value(1, "k"), b"v")


@test
def nothing_is_opened_before_the_settings_are_good(cluster):
    ip = f"{cluster.net}.98"
    # Ports in use would end it with 1.
    with socket.create_server((ip, 8080)), socket.create_server((ip, 7070)):
        for bad in (("--service", "podmirror", "--max-key-bytes", "0"), ("--selector", "a in (")):
            code, stdout, _ = run("--rest-listen", f"{ip}:8080", "--grpc-listen", f"{ip}:7070",
                                  *bad)
            equal((code, stdout), (2, ""), bad)


if __name__ == "__main__":
    harness.main()
