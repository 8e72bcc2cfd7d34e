"""What has to be true of the objects that deploy/ describes, whoever rendered them. Each rule takes
an App and raises AssertionError; BROKEN has changes for each that it has to notice, BROKEN_TRUST
more for an App with certificates and rules."""

import re
import tomllib

import kube_schema

NAME, INSTANCE = "app.kubernetes.io/name", "app.kubernetes.io/instance"
POD_ENV = {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace",
           "POD_UID": "metadata.uid", "POD_IP": "status.podIP"}
# Made by who installs it.
OUR_SECRETS = {"podmirror-etcd", "podmirror-tls", "podmirror-rules"}
OUR_CONFIG_MAPS = {"podmirror-ca"}
# A setting and the name of the port that it opens, with its default.
LISTEN = {"rest": ("rest-listen", "[::]:8080"), "grpc": ("grpc-listen", "[::]:7070"),
          "rest-tls": ("rest-tls-listen", "off"), "grpc-tls": ("grpc-tls-listen", "off"),
          "health": ("health-listen", "off")}
API = "https://kubernetes.default.svc"
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
        volume = next(v for v in self.pod["volumes"] if v["name"] == "config")
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
        variable = "PODMIRROR_" + name.upper().replace("-", "_")
        return self.env.get(variable, self.config.get(name, default))

    @property
    def listening(self):
        """{name: port} by the settings."""
        addresses = {name: self.setting(*of) for name, of in LISTEN.items()}
        return {name: int(address.rpartition(":")[2]) for name, address in addresses.items()
                if address != "off"}

    @property
    def has_tls(self):
        return "rest-tls" in self.listening or "grpc-tls" in self.listening

    def mount_of(self, file):
        """The volume that a file is in, and its name there."""
        for mount in self.container["volumeMounts"]:
            if file.startswith(mount["mountPath"] + "/"):
                assert "subPath" not in mount, f"{mount}: would never change"
                volume = next(v for v in self.pod["volumes"] if v["name"] == mount["name"])
                return volume, file.removeprefix(mount["mountPath"] + "/")
        raise AssertionError(f"{file} is not mounted")


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
    secrets = OUR_SECRETS | {secret["metadata"]["name"] for secret in app.all("Secret")}
    secrets |= {certificate["spec"]["secretName"] for certificate in app.all("Certificate")}
    for volume in app.pod["volumes"]:
        if "secret" in volume:
            assert volume["secret"]["secretName"] in secrets, volume
        elif "csi" in volume:
            assert volume["csi"]["driver"] == "spiffe.csi.cert-manager.io", volume
        elif volume["configMap"]["name"] not in OUR_CONFIG_MAPS:
            app.one("ConfigMap", volume["configMap"]["name"])
    for file in (value for value in app.env.values() if value.startswith("/etc/")):
        app.mount_of(file)
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
    listed = app.env.get("PODMIRROR_PEERS", ",".join(app.config["peers"]))
    peers = app.one("Service", listed.split(":")[0])["spec"]
    assert peers["clusterIP"] == "None" and peers["publishNotReadyAddresses"] is True, peers
    port = app.listening.get("grpc", app.listening.get("grpc-tls"))
    assert listed == f"{app.name}-peers:{port}", listed
    names = {port["name"] for port in peers["ports"]}
    assert names == {"grpc", "grpc-tls"} & {*app.listening}, names


def pods_know_who_they_are(app):
    fields = {item["name"]: item["valueFrom"]["fieldRef"]["fieldPath"]
              for item in app.container["env"] if "valueFrom" in item}
    assert fields == POD_ENV, fields
    assert app.pod["enableServiceLinks"] is False, "PODMIRROR_* of Services"


def probes_ask_what_they_mean(app):
    """Only /readyz waits for the data; nothing that kills a pod does."""
    assert app.ports == app.listening, app.ports
    port = "health" if "health" in app.listening else "rest"
    assert port in app.listening, "nothing that a kubelet could ask"
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"),
                        ("readinessProbe", "/readyz")):
        assert app.container[probe]["httpGet"] == {"path": path, "port": port}, probe
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
    wants_keys = app.setting("auth-jwks", "").startswith(f"{API}/")
    assert app.pod["automountServiceAccountToken"] is (app.discovery == "kube-api" or wants_keys), \
        "a token nobody needs, or none"
    rights = {app.name: [{"apiGroups": [""], "resources": ["pods"],
                          "verbs": ["get", "list", "watch"]}]}
    if app.discovery != "kube-api":
        rights = {}
    if any("csi" in volume for volume in app.pod["volumes"]):
        rights[f"{app.name}-certificate"] = [{"apiGroups": ["cert-manager.io"],
                                              "resources": ["certificaterequests"],
                                              "verbs": ["create"]}]
    assert {role["metadata"]["name"]: role["rules"] for role in app.all("Role")} == rights
    assert sorted(b["metadata"]["name"] for b in app.all("RoleBinding")) == sorted(rights)
    for binding in app.all("RoleBinding"):
        assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                                      "name": binding["metadata"]["name"]}, binding
        assert binding["subjects"] == [{"kind": "ServiceAccount",
                                        "name": account["metadata"]["name"]}], binding
    assert not app.all("ClusterRole")
    for binding in app.all("ClusterRoleBinding"):
        assert wants_keys, "rights nobody needs"
        assert binding["roleRef"]["name"] == "system:service-account-issuer-discovery", binding
        assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "default",
                                        "name": account["metadata"]["name"]}], binding


def network_is_closed_but_for_what_is_needed(app):
    spec = app.one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress"], spec
    allowed = {}
    for rule in spec["ingress"]:
        assert rule["from"], "everybody"
        for port in rule["ports"]:
            assert port["port"] in app.ports.values(), f"{port}: nobody listens there"
            allowed.setdefault(port["port"], []).extend(rule["from"])
    ourselves = {"podSelector": {"matchLabels": app.labels}}
    for name, port in app.listening.items():
        if name == "grpc" or (name == "grpc-tls" and app.setting("auth", "off") == "off"):
            assert allowed[port] == [ourselves], f"{name}: {allowed[port]}"
        elif name == "grpc-tls":
            assert ourselves in allowed[port] and {"podSelector": {}} not in allowed[port], allowed
        elif name != "health":      # the nodes ask there; others only where values say so
            assert allowed[port] and ourselves not in allowed[port], f"{name}: {allowed}"


def certificates_are_whole(app):
    """What TLS takes is there: files that can change, for server and client, whose names make peers
    of these pods and of no others."""
    mode = app.setting("peer-tls", "off")
    if not app.has_tls:
        assert mode == "off", "nothing to prove it by"
        assert not app.all("Certificate"), "a certificate nobody uses"
        return
    assert {"rest-tls", "grpc-tls", "health"} <= {*app.listening}, app.listening
    if mode != "require":
        assert {"rest", "grpc"} <= {*app.listening}, "those that come without TLS are shut out"
    for name, setting in (("tls.crt", "tls-cert"), ("tls.key", "tls-key"), ("ca.crt", "tls-ca")):
        volume, file = app.mount_of(app.setting(setting, ""))
        assert file == name, f"{setting}: {file}"
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] == 0o440, volume
        elif "csi" in volume:
            group = volume["csi"]["volumeAttributes"]["spiffe.csi.cert-manager.io/fs-group"]
            assert group == str(app.pod["securityContext"]["runAsGroup"]), volume
    name = f"/ns/default/sa/{app.pod['serviceAccountName']}"
    peers = app.setting("tls-peers", "")
    made = "secret" not in app.mount_of(app.setting("tls-cert", ""))[0] or app.all("Certificate")
    assert not made or peers, "whoever shares one of the names would be a peer"
    for peer in peers.split(",") if made else ():
        assert peer.startswith("spiffe://") and peer.endswith(name), f"{peer}: not these pods alone"
    for certificate in app.all("Certificate"):
        spec = certificate["spec"]
        assert {"server auth", "client auth"} <= {*spec["usages"]}, spec
        assert spec["uris"] == [peers], spec
        assert {app.name, f"{app.name}.default.svc"} <= {*spec["dnsNames"]}, spec
        assert seconds_of(spec["renewBefore"]) < seconds_of(spec["duration"]), spec
        assert spec["privateKey"]["rotationPolicy"] == "Always", spec


def callers_are_known(app):
    """Where rules count, they are there, nobody gets around them, and tokens have a purpose."""
    if app.setting("auth", "off") == "off":
        assert not app.all("Secret"), "rules nobody reads"
        return
    assert app.setting("peer-tls", "off") == "require", "anybody could be a peer"
    volume, file = app.mount_of(app.setting("auth-file", ""))
    assert file == "auth.toml" and volume["secret"]["defaultMode"] == 0o440, volume
    for secret in app.all("Secret"):
        assert volume["secret"]["secretName"] == secret["metadata"]["name"], volume
        rules = tomllib.loads(secret["stringData"][file])
        assert rules["subject"], "nobody may do anything"
    if app.setting("auth-jwt-issuer", ""):
        assert app.setting("auth-jwt-audience", "podmirror"), "tokens for somebody else"
        assert app.setting("auth-jwks", "").startswith("https://"), app.env


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


def _env(app, name, value):
    """Sets, or with None deletes, a variable of the container."""
    env = app.container["env"]
    env[:] = [item for item in env if item["name"] != name]
    if value is not None:
        env.append({"name": name, "value": value})


def _volume(app, name):
    return next(volume for volume in app.pod["volumes"] if volume["name"] == name)


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
    certificates_are_whole: [
        lambda app: _env(app, "PODMIRROR_PEER_TLS", "require"),
        lambda app: _env(app, "PODMIRROR_GRPC_TLS_LISTEN", "[::]:7443")],
    callers_are_known: [
        lambda app: _env(app, "PODMIRROR_AUTH", "required")],
    image_is_named_exactly: [
        lambda app: _set(app, f"{CONTAINER}.image", "podmirror:latest"),
        lambda app: _set(app, f"{CONTAINER}.image", "podmirror")],
}
# The same for an App with TLS, a Certificate, rules and no plain ports.
BROKEN_TRUST = {
    is_what_kubernetes_knows: [
        lambda app: app.one("Certificate")["spec"].update(usage=["server auth"]),
        lambda app: app.one("Certificate")["spec"].update(uris="spiffe://a/b")],
    names_lead_somewhere: [
        lambda app: app.objects.remove(app.one("Secret")),
        lambda app: _volume(app, "tls")["secret"].update(secretName="other"),
        lambda app: _env(app, "PODMIRROR_TLS_CA", "/etc/other/ca.crt")],
    peers_are_one_set: [
        lambda app: _env(app, "PODMIRROR_PEERS", None),
        lambda app: app.one("Service", "podmirror-peers")["spec"]["ports"].append(
            {"name": "grpc", "port": 7070, "targetPort": "grpc"})],
    probes_ask_what_they_mean: [
        lambda app: _set(app, f"{CONTAINER}.livenessProbe.httpGet.port", "rest-tls"),
        lambda app: _env(app, "PODMIRROR_HEALTH_LISTEN", "off")],
    rights_are_the_least: [
        lambda app: _set(app, f"{POD}.automountServiceAccountToken", False),
        lambda app: app.objects.append(
            {"kind": "ClusterRoleBinding", "metadata": {"name": "a"},
             "roleRef": {"name": "cluster-admin"}, "subjects": []})],
    network_is_closed_but_for_what_is_needed: [
        lambda app: app.one("NetworkPolicy")["spec"]["ingress"][0]["ports"].append({"port": 7070}),
        lambda app: app.one("NetworkPolicy")["spec"]["ingress"].append(
            {"from": [{"podSelector": {}}], "ports": [{"port": 7443}]}),
        lambda app: app.one("NetworkPolicy")["spec"]["ingress"].pop(1)],
    certificates_are_whole: [
        lambda app: _env(app, "PODMIRROR_TLS_PEERS", None),
        lambda app: _env(app, "PODMIRROR_TLS_PEERS", "*.svc"),
        lambda app: _env(app, "PODMIRROR_PEER_TLS", "prefer"),
        lambda app: _volume(app, "tls")["secret"].update(defaultMode=0o444),
        lambda app: app.container["volumeMounts"][1].update(subPath="tls.crt"),
        lambda app: app.one("Certificate")["spec"]["usages"].remove("client auth"),
        lambda app: app.one("Certificate")["spec"]["privateKey"].update(rotationPolicy="Never")],
    callers_are_known: [
        lambda app: _env(app, "PODMIRROR_PEER_TLS", "prefer"),
        lambda app: _env(app, "PODMIRROR_AUTH", None),
        lambda app: app.one("Secret")["stringData"].update({"auth.toml": "[[role"}),
        lambda app: _env(app, "PODMIRROR_AUTH_JWKS", "http://a/b")],
}
