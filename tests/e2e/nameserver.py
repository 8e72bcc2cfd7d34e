"""A DNS server on loopback for one test, and a resolv.conf that names it.

It answers what the test puts into `records`; `trouble` says what else it does. The resolv.conf lies
over the system's own in the mount namespace that harness.main() made for the program.
"""

import contextlib
import ipaddress
import pathlib
import socket
import socketserver
import struct
import subprocess
import threading

from harness import Skip

A, AAAA = 1, 28
NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME = 0, 2, 3
MAX_DATAGRAM = 512


class NameServer:
    def __init__(self, address):
        self.address = address
        self.records = {}       # name -> addresses
        self.trouble = {}       # type -> "fail" or "silent"
        self.asked = 0
        self._servers = []

    def _answer(self, question, limit):
        """The answer to a message, or None for silence."""
        self.asked += 1
        number, _flags = struct.unpack_from("!HH", question)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack_from("!H", question, at + 1)
        asked = question[12:at + 5]
        trouble = self.trouble.get(kind)
        if trouble == "silent":
            return None
        addresses = self.records.get(".".join(labels).lower())
        code = SERVER_FAILURE if trouble else NO_SUCH_NAME if addresses is None else NO_ERROR
        packed = [] if code else [ipaddress.ip_address(text).packed for text in addresses]
        wanted = [data for data in packed if len(data) == (4 if kind == A else 16)]
        body = b"".join(struct.pack("!HHHIH", 0xc00c, kind, 1, 0, len(data)) + data
                        for data in wanted)
        flags = 0x8180 | code
        if 12 + len(asked) + len(body) > limit:     # truncated: ask again by TCP
            flags, body, wanted = flags | 0x0200, b"", []
        return struct.pack("!HHHHHH", number, flags, 1, len(wanted), 0, 0) + asked + body

    def start(self):
        server = self

        class Datagram(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                answer = server._answer(data, MAX_DATAGRAM)
                if answer:
                    sock.sendto(answer, self.client_address)

        class Stream(socketserver.BaseRequestHandler):
            def handle(self):
                while len(head := self.request.recv(2, socket.MSG_WAITALL)) == 2:
                    length, = struct.unpack("!H", head)
                    answer = server._answer(self.request.recv(length, socket.MSG_WAITALL), 1 << 16)
                    if not answer:
                        return
                    self.request.sendall(struct.pack("!H", len(answer)) + answer)

        for kind, handler in ((socketserver.ThreadingUDPServer, Datagram),
                              (socketserver.ThreadingTCPServer, Stream)):
            kind.allow_reuse_address = kind.daemon_threads = True
            listener = kind((self.address, 53), handler)
            self._servers.append(listener)
            threading.Thread(target=listener.serve_forever, daemon=True).start()

    def stop(self):
        for listener in self._servers:
            listener.shutdown()
            listener.server_close()
        self._servers.clear()


@contextlib.contextmanager
def name_server(cluster, hosts=""):
    """A started NameServer that all programs of this test ask; `hosts` is their /etc/hosts."""
    server = NameServer(f"{cluster.net}.253")
    files = {"/etc/resolv.conf": f"nameserver {server.address}\noptions timeout:1 attempts:1\n",
             "/etc/hosts": f"127.0.0.1 localhost\n{hosts}"}
    with contextlib.ExitStack() as stack:
        for place, text in files.items():
            ours = cluster.directory / pathlib.Path(place).name
            ours.write_text(text)
            mounted = subprocess.run(["mount", "--bind", ours, place], capture_output=True,
                                     text=True, check=False)
            if mounted.returncode != 0:
                raise Skip(f"no {place} of our own here: {mounted.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "--lazy", place], check=True)
        server.start()
        stack.callback(server.stop)
        yield server
