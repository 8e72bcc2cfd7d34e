"""A daemon that lets nobody in without a token or a certificate, and clients of it."""

import hashlib
import http.client
import json
import os
import ssl

import grpc

from certs import PEER, Authority
from harness import (GRPC_PORT, GRPC_TLS_PORT, HEALTH_PORT, REST_TLS_PORT, BareNode, equal,
                     wait_for)
from tokens import ISSUER, Issuer, key_set

CLIENT = "URI:spiffe://cluster.test/ns/shop/sa/web"


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


def replace(path, text):
    """As a whole, as a kubelet does."""
    path.with_suffix(".new").write_text(text)
    os.replace(path.with_suffix(".new"), path)


class Secured:
    """One daemon with all of it, and clients of it. Its gRPC port without TLS is open on demand."""

    def __init__(self, cluster, *args, interval="100ms", plain_grpc=False, jwks=None,
                 grpc_tls_host=None):
        self.directory = cluster.directory
        self.authority = Authority(cluster.directory / "ca")
        self.node = BareNode(cluster)
        own = self.authority.issue("node", names=f"{PEER},IP:{self.node.ip}")
        self.issuer = Issuer(cluster.directory)
        self.write("auth.toml", rules(*SUBJECTS))
        self.write("jwks.json", key_set(self.issuer))
        self._own, self._interval, self._plain_grpc = own, interval, plain_grpc
        self._grpc_tls_host = grpc_tls_host or self.node.ip
        self.node.start(*self.args(jwks or self.directory / "jwks.json"), *args)
        wait_for(lambda: self.ask("GET", "/readyz").status == 200, 10, "ready")

    def args(self, jwks):
        """What it is started with."""
        ip, own = self.node.ip, self._own
        grpc_listen = f"{ip}:{GRPC_PORT}" if self._plain_grpc else "off"
        return ("--discovery=none", "--service=", f"--rest-tls-listen={ip}:{REST_TLS_PORT}",
                f"--grpc-tls-listen={self._grpc_tls_host}:{GRPC_TLS_PORT}",
                f"--health-listen={ip}:{HEALTH_PORT}",
                "--rest-listen=off", f"--grpc-listen={grpc_listen}", "--peer-tls=require",
                f"--tls-cert={own.cert}", f"--tls-key={own.key}",
                f"--tls-ca={self.authority.cert}", "--auth=required",
                f"--auth-file={self.directory}/auth.toml", f"--auth-jwks={jwks}",
                f"--auth-jwt-issuer={ISSUER}", f"--tls-reload-interval={self._interval}")

    def write(self, name, text):
        replace(self.directory / name, text)

    def ask(self, method, path, token=None, body=None, files=None, headers=()):
        """The answer, and its body as JSON where it is that."""
        context = ssl.create_default_context(cafile=self.authority.cert)
        if files:
            context.load_cert_chain(files.cert, files.key)
        connection = http.client.HTTPSConnection(self.node.ip, REST_TLS_PORT, timeout=10,
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

    def values(self, type_):
        """All that is held of a type."""
        listed = json.loads(self.ask("GET", f"/v1/cache/{type_}", token="boss").text)
        return {entry["key"]: entry["value"] for entry in listed["entries"]}

    def channel(self):
        return grpc.secure_channel(
            f"{self.node.ip}:{GRPC_TLS_PORT}",
            grpc.ssl_channel_credentials(self.authority.cert.read_bytes()),
            options=[("grpc.enable_http_proxy", 0)])
