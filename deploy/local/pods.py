"""Pod records as a kubelet writes them, and the little of etcd that it takes to store them.

Used by the local cluster (cluster.py) and by the end-to-end tests.
"""

import base64
import datetime
import http.client
import json
import uuid

CONTAINER = "podmirrord"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def now(seconds_ago=0):
    """The time as Kubernetes writes it: RFC 3339, UTC, whole seconds."""
    moment = datetime.datetime.now(datetime.timezone.utc)
    return (moment - datetime.timedelta(seconds=seconds_ago)).strftime(TIME_FORMAT)


def later(moment, seconds):
    """A time as Kubernetes writes it, that many seconds after another."""
    before = datetime.datetime.strptime(moment, TIME_FORMAT)
    return (before + datetime.timedelta(seconds=seconds)).strftime(TIME_FORMAT)


def started_at(record):
    """When the container of a running pod was started, as Kubernetes writes it."""
    return record["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]


def new_record(name, ip, namespace="default", uid=None, labels=None, started_at=None):
    """A pod whose container runs and is not Ready yet, as a dict."""
    started_at = started_at or now()
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or str(uuid.uuid4()),
            "creationTimestamp": started_at,
            "labels": labels or {"app": "podmirror"},
        },
        "spec": {
            "containers": [{
                "name": CONTAINER,
                "image": "podmirror:local",
                "ports": [{"name": "rest", "containerPort": 8080, "protocol": "TCP"},
                          {"name": "grpc", "containerPort": 7070, "protocol": "TCP"}],
            }],
            "restartPolicy": "Always",
            "nodeName": "local",
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": status, "lastProbeTime": None,
                 "lastTransitionTime": started_at}
                for kind, status in (("Initialized", "True"), ("Ready", "False"),
                                     ("ContainersReady", "False"), ("PodScheduled", "True"))],
            "hostIP": ip,
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": started_at,
            "containerStatuses": [{
                "name": CONTAINER,
                "state": {"running": {"startedAt": started_at}},
                "lastState": {},
                "ready": False,
                "restartCount": 0,
                "image": "podmirror:local",
                "imageID": "",
                "started": True,
            }],
        },
    }


def set_ready(record, ready):
    """What a kubelet writes when the readiness probe begins to say something else."""
    for condition in record["status"]["conditions"]:
        if condition["type"] in ("Ready", "ContainersReady"):
            condition.update(status="True" if ready else "False", lastTransitionTime=now())
    record["status"]["containerStatuses"][0]["ready"] = ready


def set_restarted(record, started_at=None):
    """What a kubelet writes when it has started the container of the same pod again."""
    container = record["status"]["containerStatuses"][0]
    before = container["state"].get("running", {}).get("startedAt")
    container["lastState"] = {
        "terminated": {"exitCode": 137, "reason": "Error", "startedAt": before,
                       "finishedAt": now()}}
    container["state"] = {"running": {"startedAt": started_at or now()}}
    container["restartCount"] += 1
    set_ready(record, False)


def is_ready(record):
    return record["status"]["containerStatuses"][0]["ready"]


def key_of(record, prefix="/registry"):
    metadata = record["metadata"]
    return f"{prefix}/pods/{metadata['namespace']}/{metadata['name']}"


def encode(record):
    """As stored by Kubernetes with --storage-media-type=application/json."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


class Etcd:
    """An etcd's HTTP side: the JSON gateway of its v3 API. Raises OSError when it is not there."""

    def __init__(self, address, port):
        self.address, self.port = address, port

    def request(self, method, path, body=None, headers=None, timeout=5):
        connection = http.client.HTTPConnection(self.address, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"etcd at {self.address}:{self.port}: {error!r}") from error
        finally:
            connection.close()

    def _call(self, path, message):
        status, body = self.request("POST", path, json.dumps(message))
        if status != 200:
            raise OSError(f"etcd {path}: {status} {body.decode(errors='replace')}")
        return json.loads(body)

    def healthy(self):
        try:
            status, body = self.request("GET", "/health", timeout=1)
            return status == 200 and json.loads(body).get("health") == "true"
        except (OSError, ValueError):
            return False

    def put(self, key, value):
        self._call("/v3/kv/put", {"key": _base64(key.encode()), "value": _base64(value)})

    def get(self, key):
        """The value, or None."""
        kvs = self._call("/v3/kv/range", {"key": _base64(key.encode())}).get("kvs", [])
        return base64.b64decode(kvs[0].get("value", "")) if kvs else None

    def delete(self, key):
        self._call("/v3/kv/deleterange", {"key": _base64(key.encode())})

    def put_record(self, record):
        self.put(key_of(record), encode(record))


def _base64(data):
    return base64.b64encode(data).decode()


def etcd_command(data_dir, address, client_port, peer_port, *more):
    """The command line of a single etcd that listens on one address only."""
    client = f"http://{address}:{client_port}"
    peer = f"http://{address}:{peer_port}"
    return ["etcd", "--name", "local", "--data-dir", str(data_dir),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"local={peer}", *more]
