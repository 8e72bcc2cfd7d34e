#!/usr/bin/python3
"""EventSource of a real browser follows a daemon that is killed and stopped. The page and the
stream come from one origin: a small server stands before the daemon, as an ingress would."""

import http.server
import json
import shutil
import socket
import threading

import harness
from harness import REST_PORT, NotYet, Skip, equal, test, wait_for
from watching import TOKEN, listing, put

PAGE = b"""<!DOCTYPE html>
<title>What a page knows</title>
<script>
const entries = {}, counts = {put: 0, delete: 0, synced: 0, bookmark: 0, reset: 0};
let synced = false, sources = 0;

function follow() {
  ++sources;
  const source = new EventSource("/v1/watch?initial=true");
  for (const kind in counts) {
    source.addEventListener(kind, event => {
      ++counts[kind];
      take(kind, JSON.parse(event.data));
      if (kind === "synced") synced = true;
      if (kind === "reset") synced = false;
      if (synced) {
        fetch("/told", {method: "POST",
                        body: JSON.stringify({entries, counts, sources, id: event.lastEventId})});
      }
    });
  }
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) follow();
  };
}

function take(kind, data) {
  const name = data.type + "/" + data.key;
  if (kind === "put") entries[name] = [data.value, data.version];
  if (kind === "delete") delete entries[name];
  if (kind === "reset") for (const name in entries) delete entries[name];
}
follow();
</script>
"""


class Origin:
    """Serves the page and the daemon's watches, while the daemon is ready; who comes meanwhile
    gets no answer. Keeps what the page has told last."""

    def __init__(self, node, ip):
        self.ip, self.told, self.asked = ip, None, []
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path.startswith("/v1/watch"):
                    origin.asked.append(self.headers["Last-Event-ID"])
                    self.close_connection = True
                    origin.relay(node, self)
                else:
                    self.answer(PAGE if self.path == "/" else b"")

            def do_POST(self):
                origin.told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(b"")

            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer((ip, 80), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @staticmethod
    def relay(node, request):
        try:
            if node.get("/readyz").status != 200:
                return
            with socket.create_connection((node.ip, REST_PORT), 10) as link:
                head = f"{request.requestline}\n{request.headers}"
                link.sendall(head.replace("\n", "\r\n").encode())
                link.settimeout(60)
                while data := link.recv(1 << 16):
                    request.wfile.write(data)
        except OSError:     # either of them has gone
            pass

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class Browser:
    def __init__(self, cluster, url):
        program = shutil.which("chromium")
        if not program:
            raise Skip("no chromium here")
        folder = cluster.directory / "browser"
        self._log = cluster.directory / "browser.log"
        with open(self._log, "ab") as log:
            self.process = cluster.spawn(
                [program, "--headless=new", "--no-sandbox", "--disable-gpu",
                 "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                 "--disable-sync", "--no-proxy-server", "--remote-debugging-port=0",
                 f"--user-data-dir={folder}", url],
                None, stdout=log, stderr=log)


@test
def a_page_follows_through_a_kill_and_a_stop(cluster):
    one, two = cluster.start(2)
    for i in range(300):
        put(one, f"k-{i}", ack="local")
    cluster.wait_same([one, two])
    origin = Origin(one, f"{cluster.net}.100")
    Browser(cluster, f"http://{origin.ip}/")
    try:
        wait_until_equal(origin, one, 60)
        put(two, "live")
        wait_until_equal(origin, one)
        equal(origin.asked, [None])
        equal(origin.told["counts"]["reset"], 0)
        for number, end in enumerate((one.kill, one.terminate), start=1):
            last, seen = origin.told["id"], len(origin.asked)
            assert TOKEN.fullmatch(last), last
            end()
            two.delete(1, f"k-{number}")
            put(two, f"new-{number}", ack="local")
            one.start()
            one.restart_record()
            one.wait_ready()
            cluster.wait_same([one, two])
            wait_until_equal(origin, one)
            equal(origin.told["counts"]["reset"], number)
            equal(set(origin.asked[seen:]), {last})
            put(two, "live", str(number))
            wait_until_equal(origin, one)
        # The browser has connected anew by itself.
        equal(origin.told["sources"], 1)
    finally:
        origin.close()


def wait_until_equal(origin, node, seconds=20):
    """Until the page has what the daemon has."""
    expected = {f"{type_}/{key}": list(entry) for (type_, key), entry in listing(node).items()}

    def same():
        told = origin.told
        if not told or told["entries"] != expected:
            raise NotYet(f"{told and told['counts']}, asked {origin.asked[-3:]}")
        return True
    wait_for(same, seconds, "the page has what the daemon has")


if __name__ == "__main__":
    harness.main()
