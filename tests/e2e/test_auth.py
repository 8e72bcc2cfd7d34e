#!/usr/bin/python3
"""Who may do what: tokens, client certificates and roles, by REST and by gRPC."""

import functools
import hmac
import json
import socket
import ssl
import struct
import time

import grpc

import harness
import stubs
from certs import Authority, in_seconds
from h2_client import Connection
from harness import GRPC_TLS_PORT, BareNode, equal, test, wait_for
from kube_api import KEYS, KubeApi, make_certificate
from secured import CLIENT, Secured, by_token, rules
from tokens import Issuer, key_set

cache_pb, cache_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")
sync_pb, sync_grpc = stubs.generate("proto/hellorpc", "hellorpc.proto")

HEAD_BYTES = 16 << 10   # of a request; more of it does not come to be looked at


def refused_tokens(secured):
    """(the values of Authorization, a word of why nobody stands behind them). These are refused by
    any way on which they come."""
    issuer, now = secured.issuer, int(time.time())
    other = Issuer(secured.directory, "other")
    tokens = (
        (issuer.token(aud="else"), "audience"),
        (issuer.token(iss="https://else"), "issuer"),
        (issuer.token(exp=now - 60), "expired"),
        (issuer.token(nbf=now + 600), "valid"),
        (issuer.token(header={"alg": "none"}, sign=lambda _: b""), "alg none"),
        (issuer.token(header={"alg": "HS256"},
                      sign=lambda data: hmac.digest(issuer.public_pem(), data, "sha256")),
         "alg HS256"),
        (other.token(), "no key has the kid"),
        (other.token(header={"kid": "one"}), "signature"),
        (issuer.token() + "x", "refused"),
        ("a.b.c", "refused"),
        ("x" * 12_000, "not known"),
        ("x" * (64 << 10), None))
    return [([f"Bearer {token}"], reason) for token, reason in tokens] + [
        (["Bearer boss", "Bearer boss"], "more than one"),
        (["Bearer boss", f"Bearer {issuer.token()}"], "more than one")]


def check_reason(told, authorizations, reason):
    assert reason in told, f"{told!r} does not say {reason!r}"
    for value in authorizations:
        assert value.removeprefix("Bearer ")[:20] not in told, told


def check_unharmed(secured):
    equal(secured.values(1), {"shop/kept": "v"})
    log = secured.node.log_file.read_text()
    assert "boss" not in log, "a token was logged"
    assert secured.issuer.token().split(".")[0] not in log, "a token was logged"


@test
def tokens_of_the_issuer_are_checked(cluster):
    secured = Secured(cluster)
    subject = "system:serviceaccount:shop:web"
    equal(secured.who(token=secured.issuer.token()), subject)
    equal(secured.who(token=secured.issuer.token(aud="podmirror")), subject)
    kept = "/v1/cache/1/shop/kept"
    equal(secured.ask("PUT", kept, token=secured.issuer.token(), body=b"v").status, 200)
    for values, reason in refused_tokens(secured):
        headers = [("Authorization", value) for value in values]
        if sum(map(len, values)) > HEAD_BYTES:
            equal(secured.ask("GET", kept, headers=headers).status, 431)
            continue
        check_reason(secured.who(headers=headers), values, reason)
        for method, body in (("GET", None), ("PUT", b"w"), ("DELETE", None)):
            answer = secured.ask(method, kept, headers=headers, body=body)
            equal(answer.status, 401, f"{method}, {reason}")
            check_reason(answer.text, values, reason)
    check_unharmed(secured)


def by_grpc(secured, number, value, authorizations):
    """The answer to one of the calls that there are."""
    key = {"type": 1, "key": "shop/kept"}
    old = sync_pb.SyncRequest(data=[{"type": 1, "data": {"shop/kept": value}}])
    # A channel of its own: gRPC may close a connection by which too much has come.
    with secured.channel() as channel:
        cache, sync = cache_grpc.CacheStub(channel), sync_grpc.SyncStub(channel)
        call, request = (
            (cache.Set, cache_pb.SetRequest(items=[{**key, "value": value.encode()}])),
            (cache.Get, cache_pb.GetRequest(keys=[key])),
            (cache.Delete, cache_pb.DeleteRequest(items=[key])),
            (cache.GetAll, cache_pb.GetAllRequest(types=[1])),
            (sync.Set, old), (sync.Get, old), (sync.GetAll, old))[number]
        answer = call(request, timeout=10,
                      metadata=[("authorization", text) for text in authorizations])
        return list(answer) if call is cache.GetAll else answer


@test
def tokens_of_the_issuer_are_checked_by_grpc(cluster):
    secured = Secured(cluster)
    good = [f"Bearer {secured.issuer.token()}"]
    equal(by_grpc(secured, 0, "v", good).set, 1)
    for number in (1, 3, 4, 5, 6):
        assert '"v"' in str(by_grpc(secured, number, "v", good)), f"no value by call {number}"
    for values, reason in refused_tokens(secured):
        too_long = sum(map(len, values)) > HEAD_BYTES
        expected = (grpc.StatusCode.RESOURCE_EXHAUSTED if too_long
                    else grpc.StatusCode.UNAUTHENTICATED)
        for number in range(7):
            try:
                came = by_grpc(secured, number, "w", values)
                raise AssertionError(f"not refused, {reason}, call {number}: {came}")
            except grpc.RpcError as error:
                equal(error.code(), expected, f"{reason}: {error.details()}")
                check_reason(error.details(), values, reason or "")
    check_unharmed(secured)


@test
def roles_bound_what_a_subject_does(cluster):
    secured = Secured(cluster, "--audit=writes")
    shop = secured.issuer.token()
    files = secured.authority.issue("client", names=CLIENT)
    equal(secured.who(files=files), "spiffe://cluster.test/ns/shop/sa/web")
    equal(secured.ask("PUT", "/v1/cache/1/shop/a", token=shop, body=b"1").status, 200)
    equal(secured.ask("PUT", "/v1/cache/1/shop/b", files=files, body=b"2").status, 200)
    equal(secured.ask("PUT", "/v1/cache/1/other", token="boss", body=b"3").status, 200)
    refused = secured.ask("PUT", "/v1/cache/1/other", token=shop, body=b"4")
    equal(refused.status, 403)
    assert "write" in refused.text and "type 1" in refused.text and "other" in refused.text
    equal(secured.ask("DELETE", "/v1/cache/1/shop/a", token=shop).status, 403)
    listed = json.loads(secured.ask("GET", "/v1/cache/1", token=shop).text)
    equal(sorted(entry["key"] for entry in listed["entries"]), ["shop/a", "shop/b"])
    equal(secured.ask("GET", "/metrics").status, 401)
    equal(secured.ask("GET", "/metrics", token="boss").status, 200)
    audit = [(line["subject"], line.get("action"), line.get("key"), line["result"])
             for line in secured.node.events("audit")]
    equal(audit, [("system:serviceaccount:shop:web", "write", "shop/a", "ok"),
                  ("spiffe://cluster.test/ns/shop/sa/web", "write", "shop/b", "ok"),
                  ("boss", "write", "other", "ok"),
                  ("system:serviceaccount:shop:web", "write", "other", "forbidden"),
                  ("system:serviceaccount:shop:web", "delete", "shop/a", "forbidden"),
                  ("", None, None, "unauthorized")])


@test
def wrong_client_certificates_are_nobodys(cluster):
    secured = Secured(cluster)
    issue = secured.authority.issue
    other = Authority(cluster.directory / "other", "other")
    for files, reason in (
            (other.issue("client", names=CLIENT), "no authority"),
            (issue("late", names=CLIENT, start="20250101000000Z", end="20250102000000Z"),
             "expired"),
            (issue("early", names=CLIENT, start="20400101000000Z", end="20400102000000Z"),
             "valid only from"),
            (issue("server", names=CLIENT, usage="serverAuth"), "another use"),
            (Authority(cluster.directory / "alone", "alone"), "signed by itself")):
        detail = secured.who(files=files)
        assert reason in detail, f"{detail!r} does not say {reason!r}"
    equal(secured.who(files=issue("stranger", names="DNS:stranger")), "stranger")
    equal(secured.ask("GET", "/v1/status", files=issue("stranger", names="DNS:stranger")).status,
          403)
    assert "neither a token" in secured.who()


def status_from(secured, ip, port, files):
    """What gRPC answers to a call that comes from this port (0: any) of this address."""
    context = ssl.create_default_context(cafile=secured.authority.cert)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(files.cert, files.key)
    link = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    link.settimeout(10)
    link.bind((ip, port))
    link.connect((ip, GRPC_TLS_PORT))
    link = context.wrap_socket(link)
    # The port is free at once when it is closed.
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with Connection(link=link) as client:
        stream = client.call("/podmirror.v1.Cache/Get")
        client.send(stream, bytes(5), end=True)
        return client.end_of(stream)["grpc-status"]


@test
def certificate_that_has_expired_is_refused_from_whatever_port(cluster):
    """Also from one from which it came when it was good."""
    secured = Secured(cluster, grpc_tls_host="[::]")
    addresses, port = (secured.node.ip, "::1"), 45001
    files = secured.authority.issue("soon", names=CLIENT, end=in_seconds(5))
    for ip in addresses:
        equal(status_from(secured, ip, port, files), "0", ip)
    for ip in addresses:
        wait_for(lambda ip=ip: status_from(secured, ip, 0, files) == "16", 15, "expired")
        equal(status_from(secured, ip, port, files), "16", f"{ip}, from the same port")


@test
def rules_and_keys_are_replaced_while_it_runs(cluster):
    secured = Secured(cluster)
    old, new = secured.issuer, Issuer(cluster.directory, "two")
    equal(secured.who(token=old.token()), "system:serviceaccount:shop:web")
    secured.write("jwks.json", key_set(old, new))
    wait_for(lambda: "system" in secured.who(token=new.token()), 5, "the new key counts")
    equal(secured.who(token=old.token()), "system:serviceaccount:shop:web")
    used = old.token()
    equal(secured.who(token=used), "system:serviceaccount:shop:web")
    secured.write("jwks.json", key_set(new))
    wait_for(lambda: "no key" in secured.who(token=used), 5, "a key that is gone counts no more")
    secured.write("jwks.json", "nonsense")
    wait_for(lambda: secured.node.events("auth_jwks_reload_failed"), 5, "nonsense is told")
    equal(secured.who(token=new.token()), "system:serviceaccount:shop:web")

    equal(secured.ask("PUT", "/v1/cache/1/x", token="boss", body=b"1").status, 200)
    secured.write("auth.toml", "[[role]]\nname = 7\n")
    wait_for(lambda: secured.node.events("auth_file_reload_failed"), 5, "wrong rules are told")
    equal(secured.ask("PUT", "/v1/cache/1/x", token="boss", body=b"1").status, 200)
    secured.write("auth.toml", rules((by_token("boss"), "nothing")))
    wait_for(lambda: secured.ask("PUT", "/v1/cache/1/x", token="boss", body=b"1").status == 403, 5,
             "the new rules count")
    secured.write("auth.toml", rules())
    wait_for(lambda: "not known" in secured.who(token="boss"), 5, "a token that is gone")


@test
def a_hangup_reads_the_files_at_once(cluster):
    secured = Secured(cluster, interval="1h")
    secured.write("auth.toml", rules())
    equal(secured.who(token="boss"), "boss")
    secured.node.signal(harness.signal.SIGHUP)
    wait_for(lambda: "not known" in secured.who(token="boss"), 5, "the new rules count")


@test
def grpc_calls_are_under_the_same_roles(cluster):
    secured = Secured(cluster)
    with secured.channel() as channel:
        cache = cache_grpc.CacheStub(channel)
        old = sync_grpc.SyncStub(channel)

        def code(call, request, token):
            metadata = [("authorization", f"Bearer {token}")] if token else []
            try:
                call(request, metadata=metadata, timeout=10)
                return grpc.StatusCode.OK
            except grpc.RpcError as error:
                return error.code()

        put = cache_pb.SetRequest(items=[{"type": 1, "key": "shop/a", "value": b"1"}])
        wide = cache_pb.SetRequest(items=[{"type": 1, "key": "shop/a", "value": b"1"},
                                          {"type": 1, "key": "other", "value": b"1"}])
        set_all = sync_pb.SyncRequest(data=[{"type": 1, "data": {"shop/b": "2"}}])
        shop = secured.issuer.token()
        for call, request in ((cache.Set, put), (old.Set, set_all),
                              (cache.Get, cache_pb.GetRequest(keys=[{"type": 1,
                                                                     "key": "shop/a"}]))):
            equal(code(call, request, None), grpc.StatusCode.UNAUTHENTICATED)
            equal(code(call, request, "wrong"), grpc.StatusCode.UNAUTHENTICATED)
            equal(code(call, request, "none"), grpc.StatusCode.PERMISSION_DENIED)
            equal(code(call, request, shop), grpc.StatusCode.OK)
        equal(code(cache.Set, wide, shop), grpc.StatusCode.PERMISSION_DENIED)
        equal(code(cache.Set, put, "x" * 12_000), grpc.StatusCode.UNAUTHENTICATED)
        peer = channel.stream_stream("/podmirror.v1.Peer/Exchange")
        try:
            list(peer(iter([b""]), metadata=[("authorization", "Bearer boss")], timeout=10))
            raise AssertionError("a client was taken for a peer")
        except grpc.RpcError as error:
            equal(error.code(), grpc.StatusCode.PERMISSION_DENIED)
            assert "no certificate" in error.details(), error.details()
        health = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert health(b"", timeout=10)
        # Last: gRPC may close a connection by which so much has come.
        equal(code(cache.Set, put, "x" * 65_536), grpc.StatusCode.RESOURCE_EXHAUSTED)


@test(slow=True)
def keys_come_from_the_cluster(cluster):
    """As Kubernetes has them: an https URL that only shows itself to who has a token."""
    folder = cluster.directory
    api_files = make_certificate(folder / "api", f"{cluster.net}.250")
    (folder / "pod-token").write_text("token of the pod\n")
    api = KubeApi(cluster, certificate=api_files, token="token of the pod")
    first, second = Issuer(folder, "first"), Issuer(folder, "second")
    api.allowed = False
    api.keys = json.loads(key_set(first))
    secured = Secured(cluster, f"--kube-api-url={api.url}", f"--kube-ca={api_files}/tls.crt",
                      f"--kube-token-file={folder}/pod-token", jwks=f"{api.url}{KEYS}")
    failures = functools.partial(secured.node.events, "auth_jwks_reload_failed")
    told = wait_for(failures, 10, "the failure in the log")
    assert "HTTP 403" in told[-1]["error"], told
    # Nobody is let in on trust while the keys cannot be read, and the others are not kept waiting.
    assert "could not be read yet" in secured.who(token=first.token())
    equal(secured.who(token="boss"), "boss")
    api.allowed = True
    subject = "system:serviceaccount:shop:web"
    wait_for(lambda: secured.who(token=first.token()) == subject, 20, "keys once they can be read")

    api.keys = json.loads(key_set(first, second))
    assert "no key has the kid" in secured.who(token=second.token())
    before = api.key_reads
    for _ in range(200):
        secured.who(token=second.token())
    assert api.key_reads <= before + 1, "who asks with a wrong kid makes the daemon ask, too"
    wait_for(lambda: secured.who(token=second.token()) == subject, 20, "a key that was added")

    api.allowed = False
    unknown = Issuer(folder, "unknown")

    def fails_again():
        assert "no key has the kid" in secured.who(token=unknown.token())
        return len(failures()) > len(told)
    wait_for(fails_again, 20, "another failure in the log")
    equal(secured.who(token=second.token()), subject)
    equal(api.unauthorized, 0)
    assert "token of the pod" not in secured.node.log_file.read_text()


@test
def keys_of_a_cluster_are_there_soon(cluster):
    """Not when files are looked at again, and who has the keys and is silent holds up no end."""
    folder = cluster.directory
    api_files = make_certificate(folder / "api", f"{cluster.net}.250")
    (folder / "pod-token").write_text("token of the pod")
    api = KubeApi(cluster, certificate=api_files)
    issuer = Issuer(folder, "first")
    api.keys = json.loads(key_set(issuer))
    settings = (f"--kube-api-url={api.url}", f"--kube-ca={api_files}/tls.crt",
                f"--kube-token-file={folder}/pod-token", "--drain-timeout=2s")
    secured = Secured(cluster, *settings, interval="1h", jwks=f"{api.url}{KEYS}")
    wait_for(lambda: secured.who(token=issuer.token()).startswith("system:"), 5, "keys")
    equal(secured.node.terminate(), 0)

    silent = socket.create_server((f"{cluster.net}.251", 443))
    secured.node.start(*secured.args(f"https://{cluster.net}.251/keys"), *settings)
    silent.accept()     # it has asked, and waits
    begin = time.monotonic()
    equal(secured.node.terminate(), 0)
    assert time.monotonic() - begin < 5, "the end had to wait for the keys"
    silent.close()


@test
def what_cannot_be_safe_does_not_start(cluster):
    authority = Authority(cluster.directory / "ca")
    good = authority.issue("good")
    late = authority.issue("late", start="20250101000000Z", end="20250102000000Z")
    (cluster.directory / "auth.toml").write_text(rules())
    (cluster.directory / "wrong.toml").write_text("[[subject]]\n")
    node = BareNode(cluster)
    base = ("--discovery=none", "--service=", f"--grpc-tls-listen={node.ip}:{GRPC_TLS_PORT}",
            f"--tls-ca={authority.cert}")

    def refusal(*args, peers="require"):
        node.start(*base, f"--peer-tls={peers}", *args)
        equal(node.process.wait(10), 2)
        return node.log_file.read_text().splitlines()[-1]

    pair = (f"--tls-cert={good.cert}", f"--tls-key={good.key}")
    assert "tls-cert: expired" in refusal(f"--tls-cert={late.cert}", f"--tls-key={late.key}")
    assert "tls-key: is not the key" in refusal(f"--tls-cert={good.cert}", f"--tls-key={late.key}")
    assert "tls-peers: " in refusal(*pair, "--tls-peers=10.0.0.1")
    assert "peer-tls: must be require" in refusal(
        *pair, "--auth=required", f"--auth-file={cluster.directory}/auth.toml", peers="prefer")
    assert "auth-file: line 1" in refusal(*pair, "--auth=required",
                                          f"--auth-file={cluster.directory}/wrong.toml")
    nameless = authority.issue("nameless", names="IP:127.0.0.1")
    assert "tls-peers: required" in refusal(f"--tls-cert={nameless.cert}",
                                            f"--tls-key={nameless.key}")


if __name__ == "__main__":
    harness.main()
