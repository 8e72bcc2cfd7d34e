#!/usr/bin/python3
"""Who may do what: tokens, client certificates and roles, by REST and by gRPC."""

import hashlib
import hmac
import http.client
import json
import os
import ssl
import time

import grpc

import harness
import stubs
from certs import PEER, Authority
from harness import BareNode, equal, test, wait_for
from tokens import ISSUER, Issuer, key_set

REST_TLS, GRPC_TLS, HEALTH = 8443, 7443, 8081
CLIENT = "URI:spiffe://cluster.test/ns/shop/sa/web"

cache_pb, cache_grpc = stubs.generate("proto", "podmirror/v1/cache.proto")
sync_pb, sync_grpc = stubs.generate("proto/hellorpc", "hellorpc.proto")


def rules(*subjects):
    """`subjects`: (what identifies it, role)."""
    text = """
[[role]]
name = "all"
allow = ["read", "write", "delete", "status", "metrics"]
[[role]]
name = "shop"
allow = ["read", "write"]
types = [1]
prefix = "shop/"
[[role]]
name = "nothing"
allow = ["admin"]
"""
    for identity, role in subjects:
        text += f'[[subject]]\n{identity}\nroles = ["{role}"]\n'
    return text


def by_token(token):
    return f'token-sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\nname = "{token}"'


SUBJECTS = ((by_token("boss"), "all"), (by_token("none"), "nothing"),
            ('serviceaccount = "shop/web"', "shop"),
            ('cert = "spiffe://cluster.test/ns/shop/sa/web"', "shop"))


class Secured:
    """One daemon with all of it, and clients of it."""

    def __init__(self, cluster, *args, interval="100ms"):
        self.directory = cluster.directory
        self.authority = Authority(cluster.directory / "ca")
        self.node = BareNode(cluster)
        own = self.authority.issue("node", names=f"{PEER},IP:{self.node.ip}")
        self.issuer = Issuer(cluster.directory)
        self.write("auth.toml", rules(*SUBJECTS))
        self.write("jwks.json", key_set(self.issuer))
        ip = self.node.ip
        self.node.start("--discovery=none", "--service=", f"--rest-tls-listen={ip}:{REST_TLS}",
                        f"--grpc-tls-listen={ip}:{GRPC_TLS}", f"--health-listen={ip}:{HEALTH}",
                        "--rest-listen=off", "--grpc-listen=off", "--peer-tls=require",
                        f"--tls-cert={own.cert}", f"--tls-key={own.key}",
                        f"--tls-ca={self.authority.cert}", "--auth=required",
                        f"--auth-file={self.directory}/auth.toml",
                        f"--auth-jwks={self.directory}/jwks.json", f"--auth-jwt-issuer={ISSUER}",
                        f"--tls-reload-interval={interval}", *args)
        wait_for(lambda: self.ask("GET", "/readyz").status == 200, 10, "ready")

    def write(self, name, text):
        """As a whole, as a kubelet does."""
        path = self.directory / name
        path.with_suffix(".new").write_text(text)
        os.replace(path.with_suffix(".new"), path)

    def ask(self, method, path, token=None, body=None, files=None, headers=()):
        """The answer, and its body as JSON where it is that."""
        context = ssl.create_default_context(cafile=self.authority.cert)
        if files:
            context.load_cert_chain(files.cert, files.key)
        connection = http.client.HTTPSConnection(self.node.ip, REST_TLS, timeout=10,
                                                 context=context)
        connection.putrequest(method, path)
        for name, value in [*headers, *([("Authorization", f"Bearer {token}")] if token else [])]:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        answer = connection.getresponse()
        answer.text = answer.read().decode()
        connection.close()
        return answer

    def who(self, **options):
        """The subject, or the detail of the refusal."""
        answer = self.ask("GET", "/v1/whoami", **options)
        told = json.loads(answer.text)
        equal(answer.status, 200 if "subject" in told else 401, answer.text)
        return told.get("subject") or told["detail"]

    def channel(self):
        return grpc.secure_channel(
            f"{self.node.ip}:{GRPC_TLS}",
            grpc.ssl_channel_credentials(self.authority.cert.read_bytes()),
            options=[("grpc.enable_http_proxy", 0)])


@test
def tokens_of_the_issuer_are_checked(cluster):
    secured = Secured(cluster)
    issuer = secured.issuer
    subject = "system:serviceaccount:shop:web"
    equal(secured.who(token=issuer.token()), subject)
    equal(secured.who(token=issuer.token(aud="podmirror")), subject)
    now = int(time.time())
    other = Issuer(cluster.directory, "other")
    for token, reason in (
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
            ("x" * 12_000, "not known")):
        detail = secured.who(token=token)
        assert reason in detail, f"{detail!r} does not say {reason!r}"
        assert token[:20] not in detail, detail
    assert "more than one" in secured.who(
        headers=[("Authorization", "Bearer boss"), ("Authorization", "Bearer boss")])
    equal(secured.ask("GET", "/v1/whoami", token="x" * 65_536).status, 431)
    log = secured.node.log_file.read_text()
    assert "boss" not in log and issuer.token().split(".")[0] not in log, "a token was logged"


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


@test
def what_cannot_be_safe_does_not_start(cluster):
    authority = Authority(cluster.directory / "ca")
    good = authority.issue("good")
    late = authority.issue("late", start="20250101000000Z", end="20250102000000Z")
    (cluster.directory / "auth.toml").write_text(rules())
    (cluster.directory / "wrong.toml").write_text("[[subject]]\n")
    node = BareNode(cluster)
    base = ("--discovery=none", "--service=", f"--grpc-tls-listen={node.ip}:{GRPC_TLS}",
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
