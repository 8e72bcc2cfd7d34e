#!/usr/bin/python3
"""Daemons that find each other through the Kubernetes API."""

import harness
from harness import equal, test, wait_for
from kube_api import KubeApi


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


if __name__ == "__main__":
    harness.main()
