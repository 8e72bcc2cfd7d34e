#!/usr/bin/python3
"""A fleet that has nothing but IPv6 addresses."""

import harness
import pods
from harness import GRPC_PORT, BareNode, EtcdServer, add_address, equal, test, wait_for


def addresses(cluster):
    """Three of the documentation's unique local addresses, other ones for each test."""
    number = cluster.net.rpartition(".")[2]
    return [f"fd00:{number}::{last}" for last in (1, 2, 3)]


def etcd(cluster):
    cluster.etcd = EtcdServer(cluster, "::1")
    cluster.etcd.start()


def check_fleet(cluster, nodes):
    """Ready, linked, each write read on all, addresses written as they have to be."""
    for node in nodes:
        node.wait_ready()
    cluster.wait_streaming(nodes)
    for writer in nodes:
        answer = writer.put(1, writer.name, b"over IPv6")
        equal((answer.status, answer.json()["ack"]["acked"]), (200, 2), answer.body)
        for node in nodes:
            equal(node.value(1, writer.name), b"over IPv6", f"{writer.name} at {node.name}")
        equal({(peer["ip"], peer["address"]) for peer in writer.peers()},
              {(node.ip, f"[{node.ip}]:{GRPC_PORT}") for node in nodes if node is not writer})
    cluster.wait_same(nodes)


@test
def with_the_registry(cluster):
    etcd(cluster)
    nodes = [BareNode(cluster, ip) for ip in addresses(cluster)]
    for node in nodes:
        node.start("--discovery=registry")      # its address is that of grpc-listen
    check_fleet(cluster, nodes)
    entry = cluster.etcd.get(f"/podmirror/podmirror/[{nodes[0].ip}]:{GRPC_PORT}")
    assert f'"address":"[{nodes[0].ip}]:{GRPC_PORT}"'.encode() in entry, entry
    nodes[2].terminate()
    wait_for(lambda: nodes[0].peer(nodes[2].name) is None, 2, "gone")


@test
def with_a_list_of_addresses(cluster):
    nodes = [BareNode(cluster, ip) for ip in addresses(cluster)]
    # Written in other ways than the canonical one too.
    listed = f"[{nodes[0].ip.upper()}]:7070,[{nodes[1].ip.replace('::', ':0:0::')}]:7070"
    names = {}
    for node in nodes:
        node.start("--discovery=static", f"--peers={listed},[{nodes[2].ip}]:7070",
                   f"--pod-ip={node.ip}")
        names[f"[{node.ip}]:{GRPC_PORT}"] = node
    for node in nodes:
        node.wait_ready()
    wait_for(lambda: all({peer["state"] for peer in node.peers()} == {"streaming"}
                         and len(node.peers()) == 2 for node in nodes), 10, "all linked")
    for writer in nodes:
        equal(writer.put(1, writer.name, b"over IPv6").json()["ack"]["acked"], 2)
        for node in nodes:
            equal(node.value(1, writer.name), b"over IPv6", f"{writer.name} at {node.name}")
        equal({peer["address"] for peer in writer.peers()}, set(names) - {writer.address})


@test
def with_pod_records(cluster):
    etcd(cluster)
    nodes = []
    for ip in addresses(cluster):
        node = cluster.node()
        add_address(ip)
        node.ip = ip
        node.record = pods.new_record(node.name, ip)
        node.write_record()
        nodes.append(node)
    for node in nodes:
        node.start()
    check_fleet(cluster, nodes)


if __name__ == "__main__":
    harness.main()
