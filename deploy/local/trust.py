"""Certificates, tokens and rules of the local cluster with --secure: an authority of its own, which
signs a certificate for each node and one for the operator; a token each for a writer and a reader;
an auth-file that says what each may do. All of it lies under .local/ and is kept from run to run.
"""

import hashlib
import http.client
import os
import secrets
import ssl
import subprocess

REST_PORT, GRPC_PORT = 8443, 7443
PEER = "spiffe://podmirror.local/ns/default/sa/podmirror"    # makes a node a peer
OPERATOR = "operator"           # known by its certificate
TOKENS = ("writer", "reader")   # known by their tokens
NODE_DAYS, CA_DAYS = 365, 3650
LEAST_SECONDS = 24 * 3600       # a certificate with less than that to go is made anew

RULES = """# Who may do what in the local cluster. Change it: the daemons read it every second.
[[role]]
name = "operator"
allow = ["read", "watch", "write", "delete", "status", "metrics", "admin"]

[[role]]
name = "writer"
allow = ["read", "watch", "write", "delete"]
types = [1, 2]

[[role]]
name = "reader"
allow = ["read", "watch"]

[[subject]]
cert = "CN=operator"
name = "operator"
roles = ["operator"]
"""
SUBJECT = """
[[subject]]
token-sha256 = "{digest}"
name = "{name}"
roles = ["{name}"]
"""


class Trust:
    def __init__(self, state):
        self.tls = state / "tls"
        self.rules = state / "auth.toml"
        self.ca = self.tls / "ca.crt"

    def exists(self):
        """Whether the cluster that runs, or has run, is one with certificates."""
        return self.tls.exists()

    def make(self):
        """What is not there yet."""
        self.tls.mkdir(mode=0o700, exist_ok=True)
        if not self.ca.exists():
            self._openssl("ca", CA_DAYS, [], "basicConstraints=critical,CA:TRUE",
                          "keyUsage=critical,keyCertSign,cRLSign")
        self._issue(OPERATOR, "DNS:operator", "clientAuth")
        if not all(self.token_file(name).exists() for name in TOKENS) or not self.rules.exists():
            self._make_tokens()

    def make_for(self, node):
        self._issue(node.name, f"URI:{PEER},DNS:{node.name},IP:{node.ip}", "serverAuth,clientAuth")

    def flags(self, node):
        """Of the daemon of a node."""
        return ["--rest-listen", "off", "--grpc-listen", "off",
                "--rest-tls-listen", f"{node.ip}:{REST_PORT}",
                "--grpc-tls-listen", f"{node.ip}:{GRPC_PORT}",
                "--tls-cert", str(self.tls / f"{node.name}.crt"),
                "--tls-key", str(self.tls / f"{node.name}.key"),
                "--tls-ca", str(self.ca), "--tls-peers", PEER, "--peer-tls", "require",
                "--tls-reload-interval", "1s", "--auth", "required",
                "--auth-file", str(self.rules), "--audit", "writes"]

    def token_file(self, name):
        return self.tls / f"{name}.token"

    def connect(self, ip, timeout, caller):
        """(connection, headers) to a node; the caller is the operator, one of TOKENS, or None for
        somebody who shows nothing."""
        context = ssl.create_default_context(cafile=self.ca)
        headers = {}
        if caller == OPERATOR:
            context.load_cert_chain(self.tls / "operator.crt", self.tls / "operator.key")
        elif caller:
            token = self.token_file(caller).read_text().strip()
            headers["Authorization"] = f"Bearer {token}"
        return http.client.HTTPSConnection(ip, REST_PORT, timeout=timeout, context=context), headers

    def _make_tokens(self):
        rules = RULES
        for name in TOKENS:
            token = secrets.token_urlsafe(32)
            self._write(self.token_file(name), token + "\n")
            rules += SUBJECT.format(name=name, digest=hashlib.sha256(token.encode()).hexdigest())
        self._write(self.rules, rules)

    def _issue(self, name, names, usage):
        if self._good(self.tls / f"{name}.crt"):
            return
        self._openssl(name, NODE_DAYS, ["-CA", self.ca, "-CAkey", self.tls / "ca.key"],
                      "basicConstraints=critical,CA:FALSE", f"subjectAltName={names}",
                      f"extendedKeyUsage={usage}")

    def _openssl(self, name, days, signer, *extensions):
        """<name>.crt and <name>.key, which are there whole or not at all: the certificate last."""
        key, cert = self.tls / f"{name}.key", self.tls / f"{name}.crt"
        new_key, new_cert = self.tls / f"{name}.key.new", self.tls / f"{name}.crt.new"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                   "ec_paramgen_curve:P-256", "-nodes", "-keyout", new_key, "-out", new_cert,
                   "-subj", f"/CN={name}", "-days", days, *signer]
        for extension in extensions:
            command += ["-addext", extension]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise OSError(f"openssl: {done.stderr.strip()}")
        new_key.rename(key)
        new_cert.rename(cert)

    @staticmethod
    def _good(cert):
        """Whether it is there and goes on for a while."""
        return cert.exists() and subprocess.run(
            ["openssl", "x509", "-in", str(cert), "-noout", "-checkend", str(LEAST_SECONDS)],
            capture_output=True, check=False).returncode == 0

    @staticmethod
    def _write(path, text):
        new = path.with_name(path.name + ".new")
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
                  encoding="ascii") as file:
            file.write(text)
        new.rename(path)
