"""A small Kubernetes API for the end-to-end tests: lists and watches pods in JSON, and has the keys
of tokens.

It takes the place of a cluster's etcd: nodes write their records to it.
"""

import http.server
import json
import os
import pathlib
import socket
import ssl
import subprocess
import threading
import urllib.parse

from harness import in_url

PORT = 6443
KEYS = "/openid/v1/jwks"
# What Kubernetes gives each pod; below /run, where a test program has a file system of its own.
ACCOUNT = pathlib.Path("/run/secrets/kubernetes.io/serviceaccount")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address, handler):
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, handler)

    def handle_error(self, request, client_address):
        pass    # a client that went away, or does not believe us


class KubeApi:
    """`certificate`: of make_certificate, for TLS. `token`: the only one that is accepted."""

    def __init__(self, cluster, address=None, certificate=None, token=None):
        self.address = address or f"{cluster.net}.250"
        self.url = f"{'https' if certificate else 'http'}://{in_url(self.address)}:{PORT}"
        self.allowed = True     # else every request is forbidden
        self.token = token
        self.keys = None        # the document with the keys of ServiceAccounts' tokens
        self.lists = self.watches = self.unauthorized = self.key_reads = 0
        self._changed = threading.Condition()
        self._revision = 1
        self._records = {}      # (namespace, name) -> record
        self._events = []       # (revision, namespace, event)
        self._dropped = 0       # how often the watches were ended
        self._server = Server((self.address, PORT), self._handler())
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.use(certificate)
            # In the thread of the connection, or one that is silent would hold up all.
            self._server.socket = self._tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def use(self, certificate):
        """For connections from now on."""
        self._tls.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")

    def end_watches(self):
        """And their connections."""
        with self._changed:
            self._dropped += 1
            self._changed.notify_all()

    def put_record(self, record):
        key = (record["metadata"]["namespace"], record["metadata"]["name"])
        self._change("MODIFIED" if key in self._records else "ADDED", key, record)

    def delete_record(self, record):
        key = (record["metadata"]["namespace"], record["metadata"]["name"])
        self._change("DELETED", key, record)

    def _change(self, kind, key, record):
        with self._changed:
            self._revision += 1
            record = json.loads(json.dumps(record))
            record["metadata"]["resourceVersion"] = str(self._revision)
            if kind == "DELETED":
                del self._records[key]
            else:
                self._records[key] = record
            self._events.append((self._revision, key[0], {"type": kind, "object": record}))
            self._changed.notify_all()

    def _list(self, namespace):
        with self._changed:
            self.lists += 1
            items = [record for (ns, _), record in sorted(self._records.items()) if ns == namespace]
            return {"kind": "PodList", "apiVersion": "v1", "items": items,
                    "metadata": {"resourceVersion": str(self._revision)}}

    def _events_after(self, namespace, revision, dropped):
        """Waits for some; returns them and the revision to go on from. None: the watch ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision > revision or self._dropped > dropped, 1)
            if self._dropped > dropped:
                return None, revision
            events = [event for at, ns, event in self._events if at > revision and ns == namespace]
            return events, self._revision

    def _handler(api):    # noqa: N805  (the handler has a self of its own)
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                of_keys = url.path == KEYS
                namespace = "kube-system" if of_keys else url.path.split("/")[4]
                if api.token and self.headers["Authorization"] != f"Bearer {api.token}":
                    api.unauthorized += 1
                    self.answer(401, {"kind": "Status", "apiVersion": "v1", "code": 401,
                                      "reason": "Unauthorized", "message": "Unauthorized"})
                elif not api.allowed:
                    user = f"system:serviceaccount:{namespace}:podmirror"
                    self.answer(403, {"kind": "Status", "apiVersion": "v1", "code": 403,
                                      "message": f'pods is forbidden: User "{user}" cannot list'})
                elif of_keys:
                    api.key_reads += 1
                    self.answer(200, api.keys)
                elif "watch" in query:
                    self.watch(namespace, int(query["resourceVersion"]))
                else:
                    self.answer(200, api._list(namespace))

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def watch(self, namespace, revision):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                api.watches += 1
                dropped = api._dropped
                events = []
                while events is not None:
                    for event in events:
                        data = json.dumps(event).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    events, revision = api._events_after(namespace, revision, dropped)
                self.wfile.write(b"0\r\n\r\n")
                self.close_connection = True

            def log_message(self, *_):
                pass

        return Handler


def make_certificate(directory, ip):
    """One for the API at this address, that signs itself: tls.crt and tls.key."""
    directory.mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=kube-apiserver", "-days",
                    "1", "-addext", f"subjectAltName=IP:{ip}", "-keyout", "tls.key",
                    "-out", "tls.crt"], cwd=directory, check=True, capture_output=True)
    return directory


def give_account(token, certificate):
    """Writes the files of a ServiceAccount as a kubelet does: links to a folder that is replaced
    by another at once."""
    number = len(list(ACCOUNT.glob("..2*"))) if ACCOUNT.exists() else 0
    folder = ACCOUNT / f"..2026_{number}"
    folder.mkdir(parents=True)
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_bytes((certificate / "tls.crt").read_bytes())
    link = ACCOUNT / "..data_tmp"
    link.symlink_to(folder.name)
    os.replace(link, ACCOUNT / "..data")
    for name in ("token", "ca.crt"):
        if not (ACCOUNT / name).is_symlink():
            (ACCOUNT / name).symlink_to(f"..data/{name}")
