#!/usr/bin/python3
"""Daemons in other pods than those that a Deployment makes: as a sidecar of an application, and in
static pods, which a kubelet runs from a file."""

import hashlib
import uuid

import harness
import pods
from harness import Node, equal, test
from kube_api import KubeApi


class SidecarNode(Node):
    """The daemon is a sidecar; the application beside it has not been started yet, so that the pod
    is Pending. What its kubelet writes then."""

    def __init__(self, cluster):
        super().__init__(cluster, len(cluster.nodes) + 1)
        cluster.nodes.append(self)
        spec, status = self.record["spec"], self.record["status"]
        spec["initContainers"] = [dict(spec["containers"][0], restartPolicy="Always")]
        spec["containers"] = [{"name": "app", "image": "app:local"}]
        status["phase"] = "Pending"
        status["initContainerStatuses"] = status["containerStatuses"]
        status["containerStatuses"] = [{
            "name": "app", "state": {"waiting": {"reason": "PodInitializing"}}, "lastState": {},
            "ready": False, "restartCount": 0, "image": "app:local", "imageID": "",
            "started": False}]
        for condition in status["conditions"]:
            if condition["type"] != "PodScheduled":
                condition["status"] = "False"

    def write_record(self, ready=None):
        if ready is not None:
            self.record["status"]["initContainerStatuses"][0]["ready"] = ready
        super().write_record()


class StaticNode(Node):
    """The pod is known to its kubelet, and to itself, by the hash of its file. The API has a mirror
    of it with a UID of its own."""

    def __init__(self, cluster):
        super().__init__(cluster, len(cluster.nodes) + 1)
        cluster.nodes.append(self)
        self.hash = hashlib.md5(self.name.encode(), usedforsecurity=False).hexdigest()
        metadata = self.record["metadata"]
        metadata["uid"] = str(uuid.uuid4())
        metadata["annotations"] = {"kubernetes.io/config.hash": self.hash,
                                   "kubernetes.io/config.mirror": self.hash,
                                   "kubernetes.io/config.source": "file"}

    @property
    def uid(self):
        return self.hash


def check_linked(cluster, nodes):
    cluster.wait_streaming(nodes)
    answer = nodes[0].put(1, "k", b"v")
    equal((answer.status, answer.json()["ack"]["acked"]), (200, len(nodes) - 1))
    equal([node.value(1, "k") for node in nodes], [b"v"] * len(nodes))


def check_sidecars(cluster, *args):
    """Pending as their pods are, they find each other, and who comes later copies from them. A pod
    that is no peer would be missed for bootstrap-timeout."""
    args = ("--bootstrap-timeout=10m", f"--container={pods.CONTAINER}", *args)
    nodes = [SidecarNode(cluster), SidecarNode(cluster)]
    for node in nodes:
        node.write_record()
    for node in nodes:
        node.start(*args)
    for node in nodes:
        node.wait_ready()
    nodes.append(SidecarNode(cluster))
    nodes[2].write_record()
    nodes[2].start(*args)
    nodes[2].wait_ready()
    check_linked(cluster, nodes)
    assert nodes[2].status()["bootstrap"]["donor"], nodes[2].status()
    peer = nodes[2].peer(nodes[0].name)
    equal((peer["phase"], peer["ready"], peer["started_at"]),
          ("Pending", True,
           nodes[0].record["status"]["initContainerStatuses"][0]["state"]["running"]["startedAt"]))


@test
def sidecars_of_pending_pods_are_linked(cluster):
    cluster.etcd.start()
    check_sidecars(cluster)


@test
def sidecars_of_pending_pods_are_linked_through_the_api(cluster):
    cluster.etcd = KubeApi(cluster)
    check_sidecars(cluster, "--discovery=kube-api", f"--kube-api-url={cluster.etcd.url}")
    cluster.etcd.close()


@test
def static_pods_are_known_by_what_their_kubelet_tells_them(cluster):
    cluster.etcd.start()
    nodes = [StaticNode(cluster), StaticNode(cluster)]
    for node in nodes:
        node.write_record()
        node.start()
    for node in nodes:
        node.wait_ready()
    check_linked(cluster, nodes)
    equal(nodes[0].peers()[0]["uid"], nodes[1].hash)


if __name__ == "__main__":
    harness.main()
