"""A relay between clients and a daemon that keeps what went through: how often somebody connected,
and what was really sent."""

import socket
import threading


class Tap:
    """Listens at `address` and passes everything on to the same port of `node`."""

    def __init__(self, node, address, port):
        self._target = (node.ip, port)
        self._listener = socket.create_server((address, port))
        self._lock = threading.Lock()
        self._sockets = []
        self.url = f"http://{address}:{port}"
        self.address, self.port = address, port
        self.clear()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for each in (self._listener, *self._sockets):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:     # closed by its other end
                pass
            each.close()

    def clear(self):
        with self._lock:
            self.connections, self._asked, self._answered = 0, b"", b""

    @property
    def asked(self):
        """What clients have sent since clear(), in lower case."""
        with self._lock:
            return self._asked.lower()

    @property
    def answered(self):
        with self._lock:
            return self._answered.lower()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:     # the test is over
                return
            daemon = socket.create_connection(self._target, 10)
            daemon.settimeout(None)
            with self._lock:
                self.connections += 1
                self._sockets += [client, daemon]
            for source, sink, mark in ((client, daemon, "_asked"), (daemon, client, "_answered")):
                threading.Thread(target=self._pump, args=(source, sink, mark), daemon=True).start()

    def _pump(self, source, sink, mark):
        try:
            while data := source.recv(65536):
                with self._lock:
                    setattr(self, mark, getattr(self, mark) + data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:     # one of both ends is gone
            pass
