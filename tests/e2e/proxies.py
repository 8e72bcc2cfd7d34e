"""nginx and HAProxy in front of daemons, each with the settings that its users are told to take."""

import pathlib
import shutil
import signal
import socket
import subprocess

from harness import GRPC_PORT, REST_PORT, Skip, wait_for

HTTP_PORT, H2_PORT = 80, 81     # where a proxy listens for REST and for gRPC


class Proxy:
    """One proxy on an address of its own, from which it also connects to the daemons."""

    program = None

    def __init__(self, cluster, nodes, ip):
        # /usr/sbin is not in everybody's path.
        self._binary = shutil.which(self.program, path="/usr/sbin:/usr/bin")
        if not self._binary:
            raise Skip(f"no {self.program} here")
        self.ip, self.nodes = ip, nodes
        self.directory = cluster.directory / self.program
        self.directory.mkdir()
        (self.directory / "proxy.conf").write_text(self.config())
        self._log = self.directory / "proxy.log"
        with open(self._log, "ab") as log:
            self.process = cluster.spawn([self._binary, *self.arguments()], ip, stdout=log,
                                         stderr=log)
        for port in (HTTP_PORT, H2_PORT):
            wait_for(lambda port=port: socket.create_connection((ip, port), 1).close() or True, 30,
                     f"{self.program} listens")

    def config(self):
        raise NotImplementedError

    def arguments(self):
        raise NotImplementedError

    def workers(self):
        """The processes that serve now."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return set(children.read_text().split())

    def reload(self):
        """Until other processes serve; returns the old ones, which end by and by."""
        before = self.workers()
        self.process.send_signal(self.reload_signal)
        wait_for(lambda: self.workers() - before, 30, f"new workers of {self.program}")
        return before

    def connections(self):
        """What the kernel keeps of connections from here to the daemons: {(state, local, peer)}."""
        lines = subprocess.run(["ss", "-Htan"], capture_output=True, text=True, check=True).stdout
        found = set()
        for line in lines.splitlines():
            words = line.split()
            ends = {words[3].rpartition(":")[0], words[4].rpartition(":")[0]}
            if self.ip in ends and ends & {node.ip for node in self.nodes}:
                found.add((words[0], *sorted(words[3:5])))
        return found

    def servers(self, port, form):
        return "\n".join(form.format(name=node.name, address=f"{node.ip}:{port}")
                         for node in self.nodes)


class Nginx(Proxy):
    """Without proxy_http_version, Connection and keepalive it would connect anew for each
    request."""

    program = "nginx"
    reload_signal = signal.SIGHUP

    def arguments(self):
        return ["-p", self.directory, "-c", "proxy.conf", "-e", "error.log"]

    def config(self):
        temp = "\n".join(f"{name}_temp_path {name};" for name in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        return f"""
user root;
daemon off;
worker_processes 2;
pid nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  {temp}
  proxy_bind {self.ip};
  grpc_bind {self.ip};
  upstream rest {{
    {self.servers(REST_PORT, "server {address};")}
    keepalive 16;
  }}
  upstream grpc {{
    {self.servers(GRPC_PORT, "server {address};")}
    keepalive 16;
  }}
  server {{
    listen {self.ip}:{HTTP_PORT};
    client_max_body_size 16m;
    location / {{
      proxy_pass http://rest;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
  server {{
    listen {self.ip}:{H2_PORT} http2;
    location / {{ grpc_pass grpc://grpc; }}
  }}
}}
"""


class HaProxy(Proxy):
    """Its socket hands the listening ones to the next process when it is told to reload."""

    program = "haproxy"
    reload_signal = signal.SIGUSR2

    def arguments(self):
        return ["-W", "-f", self.directory / "proxy.conf"]

    def config(self):
        return f"""
global
  maxconn 512
  stats socket {self.directory}/socket mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  source {self.ip}
frontend rest
  bind {self.ip}:{HTTP_PORT}
  default_backend rest
frontend grpc
  bind {self.ip}:{H2_PORT} proto h2
  default_backend grpc
backend rest
  option httpchk GET /readyz
  {self.servers(REST_PORT, "server {name} {address} check inter 5s")}
backend grpc
  {self.servers(GRPC_PORT, "server {name} {address} proto h2")}
"""
