"""What has to be true of the objects that deploy/ describes, whoever rendered them. Each rule takes
an App and raises AssertionError; BROKEN has changes for each that it has to notice."""

import re
import tomllib

import kube_schema

NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
POD_ENV = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace",
           "POD_UID": "metadata.uid", "POD_IP": "status.podIP"}
OUR_SECRETS = {"podmirror-etcd"}    # made by who installs it
DRAIN_MARGIN_S = 10                 # for the kubelet, and for ports and threads to close
PROCESS_BYTES = 192 << 20           # what a process takes beyond max-memory and backlog-bytes


def bytes_of(text):
    """A size of Kubernetes or of our settings."""
    number, unit = re.fullmatch(r"(\d+)\s*([KMG]i)?B?", str(text)).groups()
    return int(number) << {None: 0, "Ki": 10, "Mi": 20, "Gi": 30}[unit]


def seconds_of(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


class App:
    """The objects of one rendering and the parts of them that rules ask for."""

    def __init__(self, objects):
        self.objects = objects

    def all(self, kind):
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind, name=None):
        found = [item for item in self.all(kind) if name in (None, item["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} {kind} {name or ''}"
        return found[0]

    @property
    def workload(self):
        found = self.all("Deployment") + self.all("DaemonSet")
        assert len(found) == 1, f"{len(found)} workloads"
        return found[0]

    @property
    def name(self):
        return self.workload["metadata"]["name"]

    @property
    def labels(self):
        return self.workload["spec"]["selector"]["matchLabels"]

    @property
    def pod(self):
        return self.workload["spec"]["template"]["spec"]

    @property
    def container(self):
        assert len(self.pod["containers"]) == 1, "one container"
        return self.pod["containers"][0]

    @property
    def env(self):
        """Values of the container's environment, as a pod called pod-0 of "default" has them."""
        values = {}
        for item in self.container["env"]:
            assert item["name"] not in values, f"{item['name']} twice"
            value = item.get("value")
            if value is None:
                path = item["valueFrom"]["fieldRef"]["fieldPath"]
                value = {"metadata.name": "pod-0", "metadata.namespace": "default",
                         "metadata.uid": "0-0-0", "status.podIP": "127.0.0.1"}[path]
            # Only what stands before it is put in.
            values[item["name"]] = re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], value)
        return values

    @property
    def discovery(self):
        return self.env["PODMIRROR_DISCOVERY"]

    @property
    def config_text(self):
        volume = next(v for v in self.pod["volumes"] if "configMap" in v)
        data = self.one("ConfigMap", volume["configMap"]["name"])["data"]
        mount = next(m for m in self.container["volumeMounts"] if m["name"] == volume["name"])
        path = f"--config={mount['mountPath']}/"
        file = next(arg for arg in self.container["args"] if arg.startswith("--config="))
        assert file.startswith(path), f"{file} is not in {path}"
        return data[file.removeprefix(path)]

    @property
    def config(self):
        return tomllib.loads(self.config_text)

    @property
    def ports(self):
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    def setting(self, name, default):
        return self.config.get(name, default)


def is_what_kubernetes_knows(app):
    for item in app.objects:
        try:
            kube_schema.check(item)
        except kube_schema.Invalid as error:
            raise AssertionError(str(error)) from error


def names_lead_somewhere(app):
    names = [(item["kind"], item["metadata"]["name"]) for item in app.objects]
    assert len(set(names)) == len(names), f"a name twice: {names}"
    assert all("namespace" not in item["metadata"] for item in app.objects), "a fixed namespace"
    app.one("ServiceAccount", app.pod["serviceAccountName"])
    volumes = {volume["name"] for volume in app.pod["volumes"]}
    mounts = {mount["name"] for mount in app.container["volumeMounts"]}
    assert volumes == mounts, f"volumes {volumes}, mounts {mounts}"
    for volume in app.pod["volumes"]:
        if "secret" in volume:
            assert volume["secret"]["secretName"] in OUR_SECRETS, volume
        else:
            app.one("ConfigMap", volume["configMap"]["name"])
    for service in app.all("Service"):
        for port in service["spec"]["ports"]:
            assert app.ports[port["targetPort"]] == port["port"], port


def peers_are_one_set(app):
    """Whatever selects pods selects the same ones, by labels that no update of a workload changes;
    and the identity of the set does not depend on settings that may change."""
    labels = app.labels
    assert set(labels) == {NAME, INSTANCE}, labels
    pod_labels = app.workload["spec"]["template"]["metadata"]["labels"]
    assert labels.items() <= pod_labels.items(), pod_labels
    selected = [app.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"]]
    selected += [service["spec"]["selector"] for service in app.all("Service")]
    selected += [budget["spec"]["selector"]["matchLabels"]
                 for budget in app.all("PodDisruptionBudget")]
    selected += [spread["labelSelector"]["matchLabels"]
                 for spread in app.pod.get("topologySpreadConstraints", [])]
    selected.append(dict(part.split("=") for part in app.config["selector"].split(",")))
    assert all(item == labels for item in selected), selected
    for item in app.objects:
        assert labels.items() <= item["metadata"]["labels"].items(), item["metadata"]
    assert app.env["PODMIRROR_CLUSTER"] == f"default/{app.name}", app.env
    assert app.config["container"] == app.container["name"], app.config
    peers = app.one("Service", app.config["peers"][0].split(":")[0])["spec"]
    assert peers["clusterIP"] == "None" and peers["publishNotReadyAddresses"] is True, peers
    assert app.config["peers"] == [f"{app.name}-peers:{app.ports['grpc']}"], app.config
    assert len(app.config["peers"]) == 1, app.config


def pods_know_who_they_are(app):
    fields = {item["name"]: item["valueFrom"]["fieldRef"]["fieldPath"]
              for item in app.container["env"] if "valueFrom" in item}
    assert fields == POD_ENV, fields
    assert app.pod["enableServiceLinks"] is False, "PODMIRROR_* of Services"


def probes_ask_what_they_mean(app):
    """Only /readyz waits for the data; nothing that kills a pod does."""
    ports = {"rest": int(app.setting("rest-listen", "[::]:8080").rpartition(":")[2]),
             "grpc": int(app.setting("grpc-listen", "[::]:7070").rpartition(":")[2])}
    assert app.ports == ports, app.ports
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"),
                        ("readinessProbe", "/readyz")):
        assert app.container[probe]["httpGet"] == {"path": path, "port": "rest"}, probe
        assert app.container[probe]["timeoutSeconds"] >= 2, f"{probe}: /healthz may take 1 s"
    for probe in ("startupProbe", "livenessProbe"):
        patience = app.container[probe]["failureThreshold"] * app.container[probe]["periodSeconds"]
        assert patience >= 30, f"{probe} kills after {patience} s"


def stops_have_time(app):
    delay = seconds_of(app.setting("drain-delay", "0s"))
    timeout = seconds_of(app.setting("drain-timeout", "10s"))
    assert delay >= 1, "the ports close before load balancers know"
    grace = app.pod["terminationGracePeriodSeconds"]
    assert timeout + DRAIN_MARGIN_S <= grace, f"{timeout} of {grace} s"


def updates_keep_the_data(app):
    spec = app.workload["spec"]
    update = spec["strategy" if app.workload["kind"] == "Deployment" else "updateStrategy"]
    assert update == {"type": "RollingUpdate",
                      "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, update
    assert spec["minReadySeconds"] >= 1, spec
    if app.workload["kind"] == "Deployment":
        assert spec["replicas"] >= 3, "two copies are left when one pod is lost"
        assert app.one("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
        spread = {item["topologyKey"]: item["whenUnsatisfiable"]
                  for item in app.pod["topologySpreadConstraints"]}
        assert spread == {"kubernetes.io/hostname": "ScheduleAnyway",
                          "topology.kubernetes.io/zone": "ScheduleAnyway"}, spread
    else:
        assert not app.all("PodDisruptionBudget"), "cannot be counted for a DaemonSet"
        service = app.one("Service", app.name)["spec"]
        assert service["internalTrafficPolicy"] == "Local", service


def memory_is_enough(app):
    resources = app.container["resources"]
    limit = bytes_of(resources["limits"]["memory"])
    assert bytes_of(resources["requests"]["memory"]) == limit, "memory that may not be there"
    most = bytes_of(app.config["max-memory"])
    assert most > 0, "no limit of the entries"
    need = most + bytes_of(app.setting("backlog-bytes", "64MiB")) + PROCESS_BYTES
    assert need <= limit, f"{need >> 20} MiB of {limit >> 20}"
    assert "cpu" in resources["requests"] and "cpu" not in resources["limits"], resources


def rights_are_the_least(app):
    pod, container = app.pod["securityContext"], app.container["securityContext"]
    assert pod["runAsNonRoot"] is True and pod["runAsUser"] == pod["runAsGroup"] == 65532, pod
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, pod
    assert container == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                         "capabilities": {"drop": ["ALL"]}}, container
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        assert not app.pod.get(field), field
    assert all(mount["readOnly"] for mount in app.container["volumeMounts"])
    assert not any("hostPort" in port for port in app.container["ports"])
    account = app.one("ServiceAccount")
    assert account["automountServiceAccountToken"] is False, account
    wants_api = app.discovery == "kube-api"
    assert app.pod["automountServiceAccountToken"] is wants_api, "a token nobody needs, or none"
    assert not app.all("ClusterRole") and not app.all("ClusterRoleBinding")
    if not wants_api:
        assert not app.all("Role") and not app.all("RoleBinding"), "rights nobody needs"
        return
    assert app.one("Role")["rules"] == [{"apiGroups": [""], "resources": ["pods"],
                                         "verbs": ["get", "list", "watch"]}]
    binding = app.one("RoleBinding")
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                                  "name": app.one("Role")["metadata"]["name"]}, binding
    assert binding["subjects"] == [{"kind": "ServiceAccount",
                                    "name": account["metadata"]["name"]}], binding


def network_is_closed_but_for_what_is_needed(app):
    spec = app.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress"], spec
    allowed = {rule["ports"][0]["port"]: rule["from"] for rule in spec["ingress"]}
    assert all(len(rule["ports"]) == 1 for rule in spec["ingress"]), spec
    assert allowed == {app.ports["grpc"]: [{"podSelector": {"matchLabels": app.labels}}],
                       app.ports["rest"]: [{"podSelector": {}}]}, allowed


def image_is_named_exactly(app):
    image, _, tag = app.container["image"].rpartition(":")
    assert image and re.fullmatch(r"\d+\.\d+\.\d+", tag), app.container["image"]
    assert app.container["imagePullPolicy"] == "IfNotPresent", app.container
    assert "command" not in app.container, "the image's own entry point"


def _set(app, path, value):
    """Sets, or with None deletes, what a path such as spec.replicas leads to in the workload."""
    *parents, last = path.split(".")
    target = app.workload
    for part in parents:
        target = target[int(part) if part.isdigit() else part]
    if value is None:
        del target[last]
    else:
        target[last] = value


def _config(app, old, new):
    data = app.one("ConfigMap")["data"]
    assert old in data["podmirrord.toml"], old
    data["podmirrord.toml"] = data["podmirrord.toml"].replace(old, new)


POD, CONTAINER = "spec.template.spec", "spec.template.spec.containers.0"
# Each rule, and changes that it has to notice.
BROKEN = {
    is_what_kubernetes_knows: [
        lambda app: _set(app, f"{CONTAINER}.livenessProbe.periodSecond", 3),
        lambda app: _set(app, "spec.replicas", "3"),
        lambda app: _set(app, "spec.selector", None)],
    names_lead_somewhere: [
        lambda app: _set(app, f"{POD}.serviceAccountName", "other"),
        lambda app: app.objects.remove(app.one("ConfigMap"))],
    peers_are_one_set: [
        lambda app: _config(app, "instance=podmirror", "instance=other"),
        lambda app: _config(app, 'container = "podmirrord"', 'container = "other"'),
        lambda app: app.one("NetworkPolicy")["spec"]["podSelector"].update(
            matchLabels={"app": "podmirror"}),
        lambda app: _set(app, f"{CONTAINER}.env.4.value", "other")],
    pods_know_who_they_are: [
        lambda app: _set(app, f"{POD}.enableServiceLinks", True),
        lambda app: _set(app, f"{CONTAINER}.env.2.valueFrom.fieldRef.fieldPath", "metadata.name")],
    probes_ask_what_they_mean: [
        lambda app: _set(app, f"{CONTAINER}.livenessProbe.httpGet.path", "/readyz"),
        lambda app: _set(app, f"{CONTAINER}.ports.0.containerPort", 80)],
    stops_have_time: [
        lambda app: _config(app, 'drain-timeout = "20s"', 'drain-timeout = "1m"'),
        lambda app: _set(app, f"{POD}.terminationGracePeriodSeconds", 25)],
    updates_keep_the_data: [
        lambda app: _set(app, "spec.strategy.rollingUpdate.maxUnavailable", 1),
        lambda app: app.objects.remove(app.one("PodDisruptionBudget"))],
    memory_is_enough: [
        lambda app: _config(app, 'max-memory = "256MiB"', 'max-memory = "512MiB"'),
        lambda app: _set(app, f"{CONTAINER}.resources.limits.memory", "256Mi")],
    rights_are_the_least: [
        lambda app: _set(app, f"{POD}.securityContext.runAsNonRoot", False),
        lambda app: _set(app, f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False),
        lambda app: app.one("Role")["rules"][0]["verbs"].append("delete"),
        lambda app: app.one("Role")["rules"][0]["resources"].append("secrets"),
        lambda app: _set(app, f"{POD}.automountServiceAccountToken", False)],
    network_is_closed_but_for_what_is_needed: [
        lambda app: app.one("NetworkPolicy")["spec"]["ingress"][0].pop("from"),
        lambda app: app.one("NetworkPolicy")["spec"]["ingress"].append({})],
    image_is_named_exactly: [
        lambda app: _set(app, f"{CONTAINER}.image", "podmirror:latest"),
        lambda app: _set(app, f"{CONTAINER}.image", "podmirror")],
}
