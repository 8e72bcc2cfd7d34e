"""A cluster whose pods have a network namespace each, joined by a bridge, so that they can be cut
off from each other and from etcd, in both directions or in one, and slowed down.

Everything lies in the namespaces that harness.main() made for the program, and is gone with them.
The program itself sits on the bridge and reaches every pod, cut off or not.
"""

import subprocess

import harness
from harness import Cluster, Skip
from slow_way import SlowWay

OWN_NUMBER = 254    # the test's own address


def main():
    """harness.main() for tests that need a bridge."""
    harness.main(cluster=BridgedCluster)


class BridgedCluster(Cluster):
    def __init__(self, number):
        super().__init__(number, net=f"10.{number}")
        self._bridge = f"br{number}"
        self._namespaces = {}   # address -> name
        self._ways = {}         # address -> SlowWay
        self.net6 = f"fd00:{number}:"
        try:
            _ip(f"link add {self._bridge} type bridge",
                f"addr add {self.net}.{OWN_NUMBER}/24 dev {self._bridge}",
                f"addr add {self.net6}:{OWN_NUMBER:x}/64 dev {self._bridge} nodad",
                f"link set {self._bridge} up")
            namespace = self._namespace(f"{self.net}.{OWN_NUMBER - 1}")
            _inside(namespace, "iptables", "--list-rules")
        except (OSError, subprocess.CalledProcessError) as error:
            self.close()
            said = (getattr(error, "stderr", None) or str(error)).strip()
            raise Skip(f"no bridge of namespaces with iptables here: {said}") from error

    def close(self):
        super().close()
        for namespace in self._namespaces.values():
            _ip(f"netns del {namespace}")
        for way in self._ways.values():
            way.close()
        _ip(f"link del {self._bridge}")

    def spawn(self, command, address, **options):
        return super().spawn([*_enter(self._namespace(address)), *command], address, **options)

    def address6(self, number):
        return f"{self.net6}:{number:x}"

    def _namespace(self, address):
        """The namespace that has the address; made when it is first asked for."""
        if address.startswith(self.net6):
            address = f"{self.net}.{int(address.rpartition(':')[2], 16)}"
        if address not in self._namespaces:
            number = int(address.rpartition(".")[2])
            name = port = f"{self._bridge}-{number}"
            _ip(f"netns add {name}")
            self._namespaces[address] = name
            if address in self._ways:
                _ip(f"link set {name}-n netns {name} name eth0")
                port = f"{name}-f"
            else:
                _ip(f"link add {port} type veth peer name eth0 netns {name}")
            _ip(f"link set {port} master {self._bridge} up")
            _ip("link set lo up",
                f"addr add {address}/24 dev eth0",
                f"addr add {self.address6(number)}/64 dev eth0 nodad",
                "link set eth0 up", namespace=name)
        return self._namespaces[address]

    def slow_way(self, node, bits_per_second, delay):
        """The node, which has not been started yet, is behind a slow way: no more than that, and
        each frame `delay` seconds later, to it and from it. Returns the way."""
        assert node.ip not in self._namespaces
        name = f"{self._bridge}-{node.number}"
        self._ways[node.ip] = SlowWay(f"{name}-n", f"{name}-f", bits_per_second, delay)
        return self._ways[node.ip]

    # Faults. A place is a node or the etcd.

    def cut_one_way(self, sources, targets):
        """Nothing that the sources send arrives at the targets any more."""
        for target in targets:
            drops = [f"-A INPUT -s {_address(source)} -j DROP" for source in sources]
            self._filter(target, drops)

    def cut(self, some, others):
        self.cut_one_way(some, others)
        self.cut_one_way(others, some)

    def heal(self, *places):
        """Takes back what cut these off; without places: every cut."""
        for place in places or [*self.nodes, self.etcd]:
            if _address(place) in self._namespaces:
                self._filter(place, ["-F INPUT"])

    def _filter(self, place, rules):
        _inside(self._namespace(_address(place)), "iptables-restore", "--noflush",
                text="\n".join(["*filter", *rules, "COMMIT", ""]))

    def slow_down(self, node, bits_per_second):
        """What the node sends goes no faster from now on; None takes that back."""
        namespace = self._namespace(node.ip)
        if bits_per_second is None:
            _inside(namespace, "tc", "qdisc", "del", "dev", "eth0", "root")
            return
        try:
            _inside(namespace, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf",
                    "rate", f"{bits_per_second}bit", "burst", "64kb", "latency", "200ms")
        except subprocess.CalledProcessError as error:
            raise Skip(f"no slow links here: {error.stderr.strip()}") from error


def _address(place):
    return place.address if isinstance(place, harness.EtcdServer) else place.ip


def _enter(namespace):
    # nsenter becomes the command: its process id is the daemon's.
    return ["nsenter", f"--net=/run/netns/{namespace}", "--"]


def _run(command, text):
    subprocess.run(command, input=text, text=True, capture_output=True, check=True, timeout=30)


def _inside(namespace, *command, text=""):
    _run([*_enter(namespace), *command], text)


def _ip(*commands, namespace=None):
    _run(["ip", *(["-n", namespace] if namespace else []), "-batch", "-"], "\n".join(commands))
