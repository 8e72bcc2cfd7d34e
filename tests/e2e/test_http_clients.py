#!/usr/bin/python3
"""HTTP clients as people have them. Each puts, gets, asks whether a value is still the same, asks
for its head, sends a value in chunks and one for which it waits to be told to go on, deletes and
meets a 404; a relay sees whether it really did, and over how many connections."""

import http.client
import os
import re
import shutil
import subprocess

import urllib3

import harness
from harness import REST_PORT, ROOT, Skip, equal, test, wait_for
from tap import Tap

PROGRAMS = ROOT / "tests/e2e/http_clients"
BUILT = ROOT / "build/manifests"    # one cache for all that is built of Go
LARGE = b"x" * 100_000
GO_ON = b"http/1.1 100 continue"


def run(*command, ok=(0,), timeout=50, **options):
    if not shutil.which(command[0]):
        raise Skip(f"no {command[0]} here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                          **options)
    assert done.returncode in ok, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def tapped(cluster):
    """A node that is alone, and a relay in front of it."""
    one, = cluster.start(1)
    return one, Tap(one, f"{cluster.net}.200", REST_PORT)


def check(node, tap, most_connections=1):
    """What every client leaves behind."""
    values = [node.value(1, key) for key in ("plain", "chunked", "expected")]
    equal(values[:2], [None, b"in parts"])
    assert values[2] == LARGE, f"a value of {len(values[2] or b'')} bytes"
    assert b"transfer-encoding: chunked" in tap.asked, "nothing was sent in chunks"
    assert b"expect: 100-continue" in tap.asked and GO_ON in tap.answered, "nobody waited"
    assert tap.connections <= most_connections, f"{tap.connections} connections"


@test
def curl(cluster):
    one, tap = tapped(cluster)
    with tap:
        files = {"small": b"hello", "large": LARGE, "parts": b"in parts"}
        for name, content in files.items():
            (cluster.directory / name).write_bytes(content)
        etag = '"%s"' % one.request("PUT", "/v1/cache/1/plain", b"hello").json()["version"]

        def ask(key, *options):
            return ["--next", "-sS", "-o", "answer", "-w", "%{http_code} ", "--max-time", "20",
                    *options, f"{tap.url}/v1/cache/1/{key}"]

        output = run("curl", *ask("plain", "-I")[1:],
                     *ask("plain"), *ask("plain", "-H", f"If-None-Match: {etag}"),
                     *ask("plain", "-X", "PUT", "--data-binary", "@small"),
                     *ask("chunked", "-T", "parts", "-H", "Transfer-Encoding: chunked"),
                     *ask("expected", "-T", "large", "-H", "Expect: 100-continue",
                          "--expect100-timeout", "20"),
                     *ask("plain", "-X", "DELETE"), *ask("plain"), cwd=cluster.directory)
        equal(output.split(), "200 200 304 200 200 200 200 404".split())
        check(one, tap)


@test
def wget(cluster):
    """It sends neither chunks nor Expect."""
    one, tap = tapped(cluster)
    with tap:
        url = f"{tap.url}/v1/cache/1/plain"
        common = ("wget", "-nv", "-O", "-", "--tries=1", "--timeout=20", "--server-response")
        assert " 200 OK" in run(*common, "--method=PUT", "--body-data=hello", url)
        output = run(*common, url, url, url)
        equal(output.count("hello"), 3, "values")
        equal(tap.connections, 2, "connections of two calls")
        etag = re.search(r'ETag: (".*?")', output).group(1)
        assert " 304 " in run(*common, f"--header=If-None-Match: {etag}", url, ok=(0, 8))
        assert "Content-Length: 5" in run(*common, "--method=HEAD", url)
        assert " 200 OK" in run(*common, "--method=DELETE", url)
        assert " 404 " in run(*common, url, ok=(8,))


@test
def python_urllib3(cluster):
    one, tap = tapped(cluster)
    with tap, urllib3.HTTPConnectionPool(tap.address, tap.port, timeout=20, retries=False) as pool:
        def ask(status, method, key, body=None, **options):
            answer = pool.urlopen(method, f"/v1/cache/1/{key}", body, **options)
            equal(answer.status, status, f"{method} {key}")
            return answer

        ask(200, "PUT", "plain", b"hello")
        got = ask(200, "GET", "plain")
        equal(got.data, b"hello")
        ask(304, "GET", "plain", headers={"If-None-Match": got.headers["ETag"]})
        equal(ask(200, "HEAD", "plain").headers["Content-Length"], "5")
        ask(200, "PUT", "chunked", iter((b"in ", b"parts")), chunked=True)
        ask(200, "DELETE", "plain")
        ask(404, "GET", "plain")
        equal(tap.connections, 1, "connections")

        # The library below it leaves the waiting to its caller.
        link = http.client.HTTPConnection(tap.address, tap.port, timeout=20)
        link.putrequest("PUT", "/v1/cache/1/expected")
        link.putheader("Content-Length", str(len(LARGE)))
        link.putheader("Expect", "100-continue")
        link.endheaders()
        wait_for(lambda: GO_ON in tap.answered, 20, "100 Continue")
        link.send(LARGE)
        equal(link.getresponse().status, 200)
        link.close()
        check(one, tap, most_connections=2)


@test
def go_net_http(cluster):
    one, tap = tapped(cluster)
    with tap:
        env = dict(os.environ, GO111MODULE="off", GOFLAGS="", GOTOOLCHAIN="local",
                   GOCACHE=str(BUILT / "go-cache"))
        program = BUILT / "http-client"
        run("go", "build", "-o", program, PROGRAMS / "client.go", env=env, timeout=200)
        run(program, tap.url)
        check(one, tap)


@test
def node_http_and_fetch(cluster):
    one, tap = tapped(cluster)
    with tap:
        run("node", PROGRAMS / "client.mjs", tap.url)
        check(one, tap, most_connections=3)    # fetch takes two in turns


@test
def java_http_client(cluster):
    one, tap = tapped(cluster)
    with tap:
        run("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", PROGRAMS / "Client.java", tap.url)
        assert b"upgrade: h2c" in tap.asked, "it did not ask for HTTP/2"
        check(one, tap)


@test
def load_generators(cluster):
    one, tap = tapped(cluster)
    one.put(1, "k", b"hello")
    (cluster.directory / "value").write_bytes(b"put by ab")
    with tap:
        url = f"{tap.url}/v1/cache/1/k"
        # HTTP/1.0 that asks to keep its connections.
        for options in ((), ("-i",), ("-u", "value")):
            output = run("ab", "-q", "-k", "-n", "2000", "-c", "10", *options, url,
                         cwd=cluster.directory)
            for line in ("Complete requests: 2000", "Failed requests: 0",
                         "Keep-Alive requests: 2000"):
                assert line in re.sub(" +", " ", output), f"ab {options}: no {line!r} in {output}"
        equal(tap.connections, 30, "connections of ab")
        equal(one.value(1, "k"), b"put by ab")

        tap.clear()
        output = run("wrk", "-t", "1", "-c", "10", "-d", "1s", url)
        assert "Socket errors" not in output and "Non-2xx" not in output, output
        assert tap.connections <= 11, f"{tap.connections} connections of wrk"     # one to look

        tap.clear()
        output = run("h2load", "--h1", "-n", "2000", "-c", "10", url)
        assert "2000 succeeded, 0 failed, 0 errored" in output, output
        equal(tap.connections, 10, "connections of h2load")


if __name__ == "__main__":
    harness.main()
