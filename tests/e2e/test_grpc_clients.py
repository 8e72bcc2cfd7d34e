#!/usr/bin/python3
"""Go's gRPC as a client of the TLS port: who is let in, and what everybody else is told. The tests
have no network, so what the client is built of is fetched before they begin."""

import base64
import contextlib
import functools
import json
import os
import shutil
import subprocess

import certs
import harness
from harness import GRPC_PORT, GRPC_TLS_PORT, ISOLATED, ROOT, Skip, equal, test
from secured import CLIENT, Secured

SOURCE = ROOT / "tests/e2e/grpc_clients"
BUILT = ROOT / "build/manifests"    # one cache for all that is built of Go
VALUE = "by Go"
HELD = {"shop/kept": "before"}


def go(*args, proxy=None, seconds=500):
    env = dict(os.environ, GOFLAGS="-mod=readonly", GO111MODULE="on", GOTOOLCHAIN="local",
               GOCACHE=str(BUILT / "go-cache"), **({"GOPROXY": proxy} if proxy else {}))
    return subprocess.run(["go", *args], cwd=SOURCE, env=env, capture_output=True, text=True,
                          timeout=seconds, check=False)


def fetch():
    """The modules, unless they are here. Whether it worked is seen by who needs them."""
    if shutil.which("go"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            go("mod", "download", seconds=60)


@functools.cache
def program():
    """The client, built."""
    if not shutil.which("go"):
        raise Skip("no go here")
    have = go("mod", "download", proxy="off")
    if have.returncode != 0:
        raise Skip(f"this Go has not got the modules: {have.stderr.strip().splitlines()[-1]}")
    built = BUILT / "grpc-client"
    done = go("build", "-o", built, ".", proxy="off")
    assert done.returncode == 0, done.stderr
    return built


def codes(told):
    return {method: code for method, (code, _, _) in told.items()}


class Client:
    """Calls all that there is, each time over a connection of its own."""

    def __init__(self, secured):
        self._secured = secured
        self._program = program()
        self._descriptors = secured.directory / "descriptors"
        subprocess.run(["protoc", f"-I{ROOT / 'proto'}",
                        f"--descriptor_set_out={self._descriptors}", "podmirror/v1/cache.proto"],
                       check=True)

    def call(self, key, *, type_=1, port=GRPC_TLS_PORT, ca=None, files=None, token=None,
             plain=False):
        """Set, Get, GetAll of the key: {method: (code, what is said of it, answers)}."""
        options = ["-plain"] if plain else [f"-ca={ca or self._secured.authority.cert}"]
        options += [f"-cert={files.cert}", f"-key={files.key}"] if files else []
        options += [f"-token={token}"] if token else []
        of = {"type": type_, "key": key}
        asked = {"Set": {"items": [{**of, "value": base64.b64encode(VALUE.encode()).decode()}]},
                 "Get": {"keys": [of]}, "GetAll": {"types": [type_], "prefix": key}}
        words = [word for method, request in asked.items()
                 for word in (method, json.dumps(request))]
        done = subprocess.run(
            [self._program, f"-descriptors={self._descriptors}", *options,
             f"{self._secured.node.ip}:{port}", *words],
            capture_output=True, text=True, timeout=60, check=False)
        equal((done.returncode, done.stderr), (0, ""))
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return {method: (line["code"], line["message"], line["answers"])
                for method, line in zip(asked, lines, strict=True)}

    def check_taken(self, key, **options):
        told = self.call(key, **options)
        equal(codes(told), {"Set": "OK", "Get": "OK", "GetAll": "OK"}, f"{key}: {told}")
        equal(told["Set"][2][0]["set"], 1)
        for method in ("Get", "GetAll"):
            found = [(entry["key"], base64.b64decode(entry["value"]).decode())
                     for answer in told[method][2] for entry in answer.get("entries", ())]
            equal(found, [(key, VALUE)], method)

    def check_refused(self, code, reason, **options):
        for method, (came, said, answers) in self.call("shop/kept", **options).items():
            equal((came, answers), (code, None), f"{method}, {reason}: {said}")
            assert reason in said, f"{method}: {said!r} does not say {reason!r}"
        self.check_unharmed(reason)

    def check_unharmed(self, after):
        equal([self._secured.values(type_) for type_ in (1, 2)], [HELD, {}], f"after {after!r}")


def prepared(cluster, **options):
    """A daemon that holds something, and a client of it."""
    secured = Secured(cluster, **options)
    for key, value in HELD.items():
        answer = secured.ask("PUT", f"/v1/cache/1/{key}", token="boss", body=value.encode())
        equal(answer.status, 200)
    return secured, Client(secured)


@test
def who_is_let_in(cluster):
    secured, client = prepared(cluster)
    files = secured.authority.issue("client", names=CLIENT)
    client.check_taken("shop/by-certificate", files=files)
    client.check_taken("shop/by-issued-token", token=secured.issuer.token())
    client.check_taken("by-token", token="boss")
    # A token goes before a certificate.
    client.check_taken("by-both", token="boss", files=files)
    equal(secured.values(1), {**HELD, "shop/by-certificate": VALUE,
                              "shop/by-issued-token": VALUE, "by-token": VALUE, "by-both": VALUE})


@test
def who_is_refused(cluster):
    secured, client = prepared(cluster)
    issue = secured.authority.issue
    files = issue("client", names=CLIENT)
    other = certs.Authority(cluster.directory / "other", "other")
    refused = functools.partial(client.check_refused, "Unauthenticated")
    refused("neither a token nor a client certificate")
    refused("no authority in tls-ca", files=other.issue("client", names=CLIENT))
    refused("it expired", files=issue("late", names=CLIENT, start=certs.in_seconds(-7200),
                                      end=certs.in_seconds(-3600)))
    refused("valid only from", files=issue("early", names=CLIENT, start=certs.in_seconds(3600),
                                           end=certs.in_seconds(7200)))
    refused("signed by itself", files=certs.self_signed(cluster.directory, "alone", CLIENT))
    refused("issued for another use", files=issue("server", names=CLIENT, usage="serverAuth"))
    refused("token is not known", token="wrong")
    refused("audience", token=secured.issuer.token(aud="else"))
    # A wrong token is not made good by a certificate.
    refused("token is not known", token="wrong", files=files)

    denied = functools.partial(client.check_refused, "PermissionDenied")
    denied("none lacks the verb", token="none")
    denied("web lacks the verb", files=files, type_=2)
    denied("stranger lacks the verb", files=issue("stranger", names="DNS:stranger"))
    # Of a type of which it may see some, a list has what it may see.
    told = client.call("elsewhere", files=files)
    equal(codes(told), {"Set": "PermissionDenied", "Get": "PermissionDenied", "GetAll": "OK"})
    client.check_unharmed("another key")


@test
def plain_clients_at_the_tls_port_and_the_other_way(cluster):
    _, client = prepared(cluster, plain_grpc=True)
    unreached = functools.partial(client.check_refused, "Unavailable", token="boss")
    unreached("server preface", plain=True)
    unreached("first record does not look like a TLS handshake", port=GRPC_PORT)
    other = certs.Authority(cluster.directory / "other", "other")
    unreached("unknown authority", ca=other.cert)
    # Without TLS nobody is known without a token, either.
    client.check_refused("Unauthenticated", "neither a token nor a client certificate",
                         port=GRPC_PORT, plain=True)
    client.check_taken("by-token", port=GRPC_PORT, plain=True, token="boss")


if __name__ == "__main__":
    if ISOLATED not in os.environ:
        fetch()
    harness.main()
