#!/usr/bin/python3
"""deploy/local/up and deploy/local/down as a newcomer runs them. Not in a namespace: on the
addresses that they promise."""

import http.client
import itertools
import json
import os
import pathlib
import signal
import socket
import ssl
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
    for number, port in itertools.product((1, 2, 3, 4), (8080, 8443)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((f"127.0.0.{number}", port))
            except OSError as error:
                raise Skip(f"127.0.0.{number}:{port}: {error.strerror}") from error


def get_json(number, path):
    connection = http.client.HTTPConnection(f"127.0.0.{number}", 8080, timeout=5)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def ask(number, method, path, body=None, cert=None, token=None):
    """(status, body) of a node with certificates."""
    context = ssl.create_default_context(cafile=STATE / "tls/ca.crt")
    if cert:
        context.load_cert_chain(STATE / f"tls/{cert}.crt", STATE / f"tls/{cert}.key")
    connection = http.client.HTTPSConnection(f"127.0.0.{number}", 8443, timeout=5, context=context)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def opens(number, port):
    try:
        socket.create_connection((f"127.0.0.{number}", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


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


def files_of_trust():
    return {path.name: path.read_bytes()
            for path in [STATE / "auth.toml", *(STATE / "tls").iterdir()]}


def check_secure(count):
    """Nothing without TLS, peers by TLS, and the rules count."""
    for number in range(1, count + 1):
        equal([port for port in (8080, 7070, 8443, 7443) if opens(number, port)], [8443, 7443])
        status, body = ask(number, "GET", "/v1/peers", cert="operator")
        equal(status, 200, body)
        states = {peer["name"]: peer["state"] for peer in json.loads(body)["peers"]}
        equal(states, {f"podmirror-{other}": "streaming" for other in range(1, count + 1)
                       if other != number})
    reader, writer = ((STATE / f"tls/{name}.token").read_text().strip()
                      for name in ("reader", "writer"))
    for number in range(1, count + 1):
        equal(ask(number, "PUT", "/v1/cache/2/a", b"x", token=writer)[0], 200)
        equal(ask(number, "GET", "/v1/cache/2/a", token=reader), (200, b"x"))
        equal(ask(number, "PUT", "/v1/cache/2/a", b"y", token=reader)[0], 403)
        equal(ask(number, "PUT", "/v1/cache/3/a", b"y", token=writer)[0], 403)
        equal(ask(number, "GET", "/v1/cache/2/a", token="guessed")[0], 401)
        equal(ask(number, "GET", "/v1/cache/2/a")[0], 401)
        equal(ask(number, "GET", "/readyz")[0], 200)


@test
def up_with_certificates_and_roles(cluster):
    check_free()
    equal(run("ninja", "-C", ROOT / "build", "podmirrord").returncode, 0, "the build")
    try:
        done = run(UP, "--secure", "--nodes", "2")
        equal(done.returncode, 0, done.stdout + done.stderr)
        for shown in ("urn:podmirror:unauthorized", "urn:podmirror:forbidden", "127.0.0.2:7443"):
            assert shown in done.stdout, done.stdout
        check_secure(2)
        pids = [pid(f"podmirror-{number}") for number in (1, 2)]
        files = files_of_trust()
        for path in (STATE / "tls").iterdir():
            if path.suffix in (".key", ".token"):
                equal(path.stat().st_mode & 0o777, 0o600, path.name)
        tokens = [files[f"{name}.token"].decode().strip() for name in ("reader", "writer")]
        assert not any(token in path.read_text() for token in tokens
                       for path in (*STATE.glob("*.log"), STATE / "auth.toml")), "a token leaks"

        # Again, with a third node; and without the word: it stays what it is.
        for command in ((UP, "--secure"), (UP,)):
            done = run(*command)
            equal(done.returncode, 0, done.stdout + done.stderr)
            check_secure(3)
            equal([pid(f"podmirror-{number}") for number in (1, 2)], pids)
            now = files_of_trust()
            equal({name: now[name] for name in files}, files, "certificates are kept")
        pids = [pid(name) for name in ("etcd", *(f"podmirror-{number}" for number in (1, 2, 3)))]
    finally:
        done = run(DOWN)
    equal(done.returncode, 0, done.stdout + done.stderr)
    assert not STATE.exists()
    equal([pid_ for pid_ in pids if lives(pid_)], [], "processes left")


@test
def up_does_not_mix(cluster):
    check_free()
    try:
        equal(run(UP, "--nodes", "1").returncode, 0)
        done = run(UP, "--secure", "--nodes", "1")
        equal(done.returncode, 1, done.stdout)
        assert "deploy/local/down first" in done.stderr, done.stderr
        equal(get_json(1, "/v1/status")["state"], "ready")
        assert not (STATE / "tls").exists()
    finally:
        equal(run(DOWN).returncode, 0)


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
    for wrong in (("--nodes", "none"), ("--nodes",), ("--sure",), ("--secure", "3")):
        equal(run(UP, *wrong).returncode, 2, wrong)


if __name__ == "__main__":
    harness.main(isolated=False)
