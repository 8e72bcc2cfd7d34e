"""A small Kubernetes API for the end-to-end tests: lists and watches pods, JSON over plain HTTP.

It takes the place of a cluster's etcd: nodes write their records to it.
"""

import http.server
import json
import threading
import urllib.parse

PORT = 6443


class KubeApi:
    def __init__(self, cluster):
        self.address = f"{cluster.net}.250"
        self.url = f"http://{self.address}:{PORT}"
        self.allowed = True     # else every request is forbidden
        self.lists = 0
        self._changed = threading.Condition()
        self._revision = 1
        self._records = {}      # (namespace, name) -> record
        self._events = []       # (revision, namespace, event)
        self._server = http.server.ThreadingHTTPServer((self.address, PORT), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

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

    def _events_after(self, namespace, revision):
        """Waits for some; returns them and the revision to go on from."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision > revision, timeout=1)
            events = [event for at, ns, event in self._events if at > revision and ns == namespace]
            return events, self._revision

    def _handler(api):    # noqa: N805  (the handler has a self of its own)
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                namespace = url.path.split("/")[4]
                if not api.allowed:
                    user = f"system:serviceaccount:{namespace}:podmirror"
                    self.answer(403, {"kind": "Status", "apiVersion": "v1", "code": 403,
                                      "message": f'pods is forbidden: User "{user}" cannot list'})
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
                while True:
                    events, revision = api._events_after(namespace, revision)
                    for event in events:
                        data = json.dumps(event).encode() + b"\n"
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

            def log_message(self, *_):
                pass

        return Handler
