#!/usr/bin/python3
"""Daemons that find each other through the Kubernetes API."""

import os

import harness
import pods
from harness import Node, Skip, add_address, equal, test, wait_for
from kube_api import PORT, KubeApi, give_account, make_certificate


class PodNode(Node):
    """A daemon in a pod: with the environment that Kubernetes gives it, and of what the manifest
    may tell a pod of itself only `knows`."""

    def __init__(self, cluster, knows):
        super().__init__(cluster, len(cluster.nodes) + 1)
        self._knows = knows
        cluster.nodes.append(self)

    def env(self):
        env = {name: value for name, value in super().env().items()
               if not name.startswith("POD_") or name in self._knows}
        return env | {"KUBERNETES_SERVICE_HOST": self.cluster.etcd.address,
                      "KUBERNETES_SERVICE_PORT": str(PORT)}


def nodes_of(cluster, count):
    cluster.etcd = KubeApi(cluster)
    nodes = [cluster.node() for _ in range(count)]
    for node in nodes:
        node.write_record()
    return nodes


def start(nodes):
    for node in nodes:
        node.start("--discovery=kube-api", f"--kube-api-url={node.cluster.etcd.url}")


@test
def three_daemons_find_each_other_through_the_api(cluster):
    nodes = nodes_of(cluster, 3)
    start(nodes)
    for node in nodes:
        node.wait_ready()
    cluster.wait_streaming(nodes)
    equal(nodes[0].put(1, "k", b"v").json()["ack"]["acked"], 2)
    equal([node.value(1, "k") for node in nodes], [b"v"] * 3)
    discovery = nodes[0].status()["discovery"]
    equal((discovery["source"], discovery["healthy"], discovery["peers"]), ("kube-api", True, 2))

    # A pod that goes is gone for the others by an event, not by another list.
    lists = cluster.etcd.lists
    nodes[2].terminate()
    cluster.etcd.delete_record(nodes[2].record)
    for node in nodes[:2]:
        wait_for(lambda node=node: len(node.peers()) == 1, 2, "one peer left")
    equal(cluster.etcd.lists, lists)
    cluster.etcd.close()


@test
def a_missing_rbac_rule_is_said(cluster):
    node, = nodes_of(cluster, 1)
    cluster.etcd.allowed = False
    start([node])
    reason = node.wait_not_ready_because("not allowed to list pods in namespace default")
    assert "verbs [get, list, watch]" in reason, reason
    assert "ServiceAccount default/podmirror" in reason, reason
    equal(node.status()["discovery"]["healthy"], False)
    assert "RBAC rule missing" in node.status()["discovery"]["error"]
    cluster.etcd.allowed = True
    node.wait_ready()
    equal(node.status()["discovery"]["error"], "")
    cluster.etcd.close()


@test
def in_a_pod_it_needs_no_more_than_its_service_account(cluster):
    if harness.ISOLATED not in os.environ:
        raise Skip("the files of a ServiceAccount are those of this machine")
    address = f"fd00:{cluster.net.rpartition('.')[2]}::a1"
    add_address(address)
    certificate = make_certificate(cluster.directory / "first", address)
    give_account("token-1", certificate)
    api = cluster.etcd = KubeApi(cluster, address, certificate, token="token-1")
    # Each finds its own record by the UID, or by the name where it knows no UID.
    nodes = [PodNode(cluster, knows) for knows in (("POD_UID", "POD_NAME", "POD_IP"), ("POD_UID",),
                                                   ("POD_NAME",))]
    for node in nodes:
        node.write_record()
    for node in nodes:
        node.start("--discovery=kube-api", "--etcd-endpoints=")
    for node in nodes:
        node.wait_ready()
    equal([len(node.peers()) for node in nodes], [2] * 3)

    def sees_a_change(name):
        """By a watch that is opened anew."""
        watches = api.watches
        api.end_watches()
        wait_for(lambda: api.watches >= watches + 3, 10, f"all watch again, {name}")
        api.put_record(pods.new_record(f"podmirror-{name}", "127.200.0.1"))
        for node in nodes:
            wait_for(lambda node=node: node.peer(f"podmirror-{name}"), 2, f"{name} is seen")

    # A token that is replaced before it expires, then one that is refused before it is replaced.
    give_account("token-2", certificate)
    api.token = "token-2"
    sees_a_change("new-token")
    equal(api.unauthorized, 0)
    lists = api.lists
    api.token = "token-3"
    api.end_watches()
    for node in nodes:
        wait_for(lambda node=node: "kube-token-file" in node.status()["discovery"]["error"], 10,
                 "the refusal is told")
        assert "token-2" not in str(node.log()), "the token is in the log"
    give_account("token-3", certificate)
    for node in nodes:
        wait_for(lambda node=node: node.status()["discovery"]["healthy"], 10, "healthy again")
    assert api.lists > lists

    # The authority is replaced, and the server's certificate with it.
    certificate = make_certificate(cluster.directory / "second", address)
    give_account("token-3", certificate)
    api.use(certificate)
    sees_a_change("new-authority")
    equal([node.status()["discovery"]["error"] for node in nodes], [""] * 3)
    api.close()


if __name__ == "__main__":
    harness.main()
