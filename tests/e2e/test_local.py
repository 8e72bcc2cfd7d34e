#!/usr/bin/python3
"""deploy/local/up and deploy/local/down as a newcomer runs them. Not in a namespace: on the
addresses that they promise."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import harness
from harness import ROOT, Skip, equal, test, wait_for

STATE = ROOT / ".local"
UP, DOWN = ROOT / "deploy/local/up", ROOT / "deploy/local/down"


def run(*command):
    """Run from elsewhere: the scripts must not depend on the current folder."""
    return subprocess.run([str(word) for word in command], cwd="/", capture_output=True, text=True,
                          timeout=300, check=False)


def check_free():
    if STATE.exists():
        raise Skip("a local cluster is up: deploy/local/down first")
    for number in (1, 2, 3, 4):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((f"127.0.0.{number}", 8080))
            except OSError as error:
                raise Skip(f"127.0.0.{number}:8080: {error.strerror}") from error


def get_json(number, path):
    connection = http.client.HTTPConnection(f"127.0.0.{number}", 8080, timeout=5)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def pid(name):
    return int((STATE / f"{name}.pid").read_text())


def lives(pid_):
    """False for a zombie too: whoever is process 1 here may take its time."""
    try:
        return pathlib.Path(f"/proc/{pid_}/cmdline").read_bytes() != b""
    except OSError:
        return False


def check_cluster(count):
    names = [f"podmirror-{number}" for number in range(1, count + 1)]
    for number, name in enumerate(names, start=1):
        peers = [peer["name"] for peer in get_json(number, "/v1/peers")["peers"]]
        equal(sorted(peers), sorted(set(names) - {name}), f"peers of {name}")
    digests = {get_json(number, "/v1/status")["digest"] for number in range(1, count + 1)}
    equal(len(digests), 1, f"digests {digests}")


@test
def up_and_down(cluster):
    check_free()
    equal(run("ninja", "-C", ROOT / "build", "podmirrord").returncode, 0, "the build")
    try:
        begin = time.monotonic()
        done = run(UP)
        seconds = time.monotonic() - begin
        equal(done.returncode, 0, done.stdout + done.stderr)
        print(f"     up in {seconds:.1f} s")
        assert seconds < 15, f"up took {seconds:.1f} s"
        check_cluster(3)
        for number in (1, 2, 3):
            peers = [peer["name"] for peer in get_json(number, "/v1/peers")["peers"]]
            equal(peers, [f"podmirror-{other}" for other in (1, 2, 3) if other != number])

        pids = [pid(f"podmirror-{number}") for number in (1, 2, 3)]
        equal(run(UP).returncode, 0)
        equal([pid(f"podmirror-{number}") for number in (1, 2, 3)], pids, "up again restarts none")

        equal(run(UP, "--nodes", "4").returncode, 0)
        check_cluster(4)
        equal([pid(f"podmirror-{number}") for number in (1, 2, 3)], pids)

        os.kill(pids[0], signal.SIGKILL)
        wait_for(lambda: not lives(pids[0]), 5, "podmirror-1 gone")
        done = run(UP)
        equal(done.returncode, 0, done.stdout + done.stderr)
        check_cluster(4)
        assert pid("podmirror-1") != pids[0]
        names = [peer["name"] for peer in get_json(2, "/v1/peers")["peers"]]
        equal(names[0], "podmirror-3", "the restarted one is not the oldest any more")
        pids = [pid(name) for name in ("etcd", *(f"podmirror-{number}" for number in (1, 2, 3, 4)))]
    finally:
        done = run(DOWN)
    equal(done.returncode, 0, done.stdout + done.stderr)
    assert not STATE.exists()
    equal([pid_ for pid_ in pids if lives(pid_)], [], "processes left")
    equal(run(DOWN).returncode, 0, "down with nothing up")


@test
def up_says_what_is_in_its_way(cluster):
    check_free()
    try:
        with socket.create_server(("127.0.0.2", 8080)):
            done = run(UP)
        equal(done.returncode, 1, done.stdout)
        assert "podmirror-2 has ended" in done.stderr, done.stderr
        assert "127.0.0.2:8080" in done.stderr, done.stderr
    finally:
        equal(run(DOWN).returncode, 0)
    with socket.create_server(("127.0.0.1", 23790)):
        done = run(UP)
    equal(done.returncode, 1, done.stdout)
    assert "127.0.0.1:23790" in done.stderr, done.stderr
    equal(run(DOWN).returncode, 0)
    assert not STATE.exists()
    equal(run(UP, "--nodes", "none").returncode, 2)


if __name__ == "__main__":
    harness.main(isolated=False)
