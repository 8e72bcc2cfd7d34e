#!/usr/bin/python3
"""What deploy/ gives to Kubernetes: each kustomization and the chart are rendered, every object is
checked against the API, against the rules of tests/manifests/rules.py, and by the daemon itself."""

import copy
import functools
import http.client
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys

import harness
from harness import DAEMON, ROOT, Skip, equal, test

sys.path.insert(0, str(ROOT / "tests/manifests"))
try:
    import jsonschema
    import rendering
    import rules
    from rules import App
except ModuleNotFoundError as error:
    print(f"skipped: {error}")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

ETCD = {"source": "etcd", "etcd": {"endpoints": ["https://etcd.example:2379"]}}
BOTH_PORTS = {"enabled": True}
PREFER = {"enabled": True, "mode": "prefer"}
TLS = {"enabled": True, "mode": "require", "plainPorts": False}
CERT_MANAGER = {**TLS, "source": "cert-manager",
                "certManager": {"issuerRef": {"name": "podmirror-ca"}}}
SPIFFE = {**TLS, "source": "csi-spiffe"}
RULES = """[[role]]
name = "shop-writer"
allow = ["read", "write"]
prefix = "shop/"
[[subject]]
serviceaccount = "shop/web"
roles = ["shop-writer"]
"""
AUTH = {"required": True, "rules": RULES}
# Each kustomization, and the values with which the chart says the same.
SAME = {
    "base": {"discovery": {"source": "static"}},
    "overlays/kube-api": {},
    "overlays/etcd": {"discovery": ETCD},
    "overlays/daemonset": {"kind": "DaemonSet"},
    "overlays/tls-both-ports": {"tls": BOTH_PORTS},
    "overlays/tls": {"tls": TLS},
    "overlays/tls-cert-manager": {"tls": CERT_MANAGER},
    "overlays/tls-spiffe": {"tls": SPIFFE},
}
ACCOUNT = pathlib.Path("/run/secrets/kubernetes.io/serviceaccount")


@functools.cache
def _chart(release, values):
    return rendering.chart(release, **json.loads(values))


def chart(release="podmirror", **values):
    return App(copy.deepcopy(_chart(release, json.dumps(values))))


def kustomization(name):
    try:
        return App(rendering.kustomization(name))
    except rendering.Unavailable as reason:
        raise Skip(f"no kustomization can be rendered: {reason}") from reason


def obeys(app, what):
    for rule in rules.BROKEN:
        try:
            rule(app)
        except AssertionError as error:
            raise AssertionError(f"{what}: {rule.__name__}: {error}") from error


def pem_files(directory, *names):
    """A certificate authority's, and a client's, under the names of the manifests."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test", "-days", "1",
                    "-keyout", "tls.key", "-out", "tls.crt",
                    *(word for name in names for word in ("-addext", f"subjectAltName={name}"))],
                   cwd=directory, check=True, capture_output=True)
    (directory / "ca.crt").write_bytes((directory / "tls.crt").read_bytes())


def settings(app, directory):
    """What the daemon would get in the pod: the file of the ConfigMap, and the environment with the
    paths of what is mounted moved to where this test has put it."""
    file = directory / "podmirrord.toml"
    file.write_text(app.config_text)
    pem_files(directory / "etcd")
    pem_files(directory / "tls", "URI:spiffe://cluster.local/ns/default/sa/podmirror,DNS:podmirror")
    (directory / "auth").mkdir(exist_ok=True)
    for secret in app.all("Secret"):
        for name, text in secret["stringData"].items():
            (directory / "auth" / name).write_text(text)
    if harness.ISOLATED in os.environ:      # then /run is ours
        pem_files(ACCOUNT)
        (ACCOUNT / "token").write_text("token")
    env = {name: re.sub("^/etc/podmirror-", f"{directory}/", value)
           for name, value in app.env.items()}
    return file, env | {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def check_config(app, directory):
    file, env = settings(app, directory)
    return subprocess.run([DAEMON, "--check-config", "--config", file], env=env, text=True,
                          capture_output=True, timeout=20, check=False)


def accepted(app, directory, what):
    done = check_config(app, directory)
    equal(done.returncode, 0, f"{what}: {done.stderr}")


def plain(app):
    """The objects by kind and name, without what one way of installing adds of its own: Helm's
    labels, the hash in a ConfigMap's name or beside it, the order of an environment."""
    objects = copy.deepcopy(app.objects)
    hashed = app.one("ConfigMap")["metadata"]["name"]
    name = re.sub(r"-config-\w+$", "-config", hashed)
    copied = App(objects)
    for item in objects:
        labels = item["metadata"]["labels"]
        for label in set(labels) - {rules.NAME, rules.INSTANCE}:
            del labels[label]
    copied.workload["spec"]["template"]["metadata"].pop("annotations", None)
    copied.container["env"].sort(key=lambda item: item["name"])
    # What the chart names and the overlay leaves at its default.
    copied.container["env"] = [item for item in copied.container["env"]
                               if item["name"] != "PODMIRROR_ETCD_PREFIX"]
    for part in (copied.container["volumeMounts"], copied.pod["volumes"]):
        part.sort(key=lambda item: item["name"])
    volume = next(item for item in copied.pod["volumes"] if item["name"] == "config")
    volume["configMap"]["name"] = name
    file = copied.one("ConfigMap")
    file["metadata"]["name"], file["data"] = name, app.config
    return {f"{item['kind']} {item['metadata']['name']}": item for item in objects}


@test
def rules_notice_what_breaks_them(cluster):
    for broken, values in ((rules.BROKEN, {}),
                           (rules.BROKEN_TRUST, {"tls": CERT_MANAGER, "auth": AUTH})):
        obeys(chart(**values), f"the chart with {values}")
        for rule, changes in broken.items():
            for number, change in enumerate(changes):
                app = chart(**values)
                change(app)
                try:
                    rule(app)
                except Exception:   # noticed, by whichever check
                    continue
                raise AssertionError(f"{rule.__name__} does not notice change {number}")


@test
def kustomizations_obey_the_rules(cluster):
    for name in SAME:
        obeys(kustomization(name), name)


@test
def chart_obeys_the_rules(cluster):
    for values in SAME.values():
        obeys(chart(**values), f"the chart with {values}")
    for release in ("shop", "1234", "a" * 53):
        obeys(chart(release), f"the release {release}")
    obeys(chart(kind="DaemonSet", discovery=ETCD), "a DaemonSet with etcd")
    obeys(chart(kind="DaemonSet", discovery=ETCD, tls=TLS, auth=AUTH), "all of them with TLS")
    obeys(chart("shop", tls=CERT_MANAGER, auth=AUTH), "the release shop with TLS")
    app = chart(config={"ack": "majority", "max-key-bytes": 1000, "bootstrap-alone": True},
                tolerations=[{"operator": "Exists"}], nodeSelector={"disk": "1"},
                affinity={"nodeAffinity": {}}, podAnnotations={"a": "1"},
                imagePullSecrets=[{"name": "registry"}])
    obeys(app, "the chart with every value")
    equal(app.config["max-key-bytes"], 1000)
    equal(app.pod["tolerations"], [{"operator": "Exists"}])


@test
def chart_obeys_the_rules_with_certificates_and_roles(cluster):
    static = {"source": "static"}
    for tls in (BOTH_PORTS, PREFER, TLS, CERT_MANAGER, SPIFFE,
                {**SPIFFE, "caConfigMap": "podmirror-ca"}, {**TLS, "peers": ["*.shop.svc", "b.c"]}):
        obeys(chart(tls=tls), f"the chart with {tls}")
        app = chart(tls=tls, discovery=static, audit="denied")
        obeys(app, f"the chart with {tls} and peers from DNS")
        equal(app.env["PODMIRROR_AUDIT"], "denied")
        if tls.get("mode") == "require":
            obeys(chart(tls=tls, auth=AUTH), f"the chart with {tls} and rules")
            obeys(chart(tls=tls, auth=AUTH, discovery=static), "rules, and no discovery by the API")
    for auth in ({"required": True, "secret": "podmirror-rules"},
                 {**AUTH, "jwt": {"issuer": ""}},
                 {**AUTH, "jwt": {"issuer": "https://issuer.example", "audience": "shop",
                                  "jwks": "https://issuer.example/keys"}},
                 {**AUTH, "jwt": {"bindDiscoveryRole": True}}):
        for discovery in ({"source": "kube-api"}, static):
            obeys(chart(tls=TLS, auth=auth, discovery=discovery), f"the chart with {auth}")
    equal(chart(tls=TLS, auth={**AUTH, "jwt": {"issuer": ""}}).env.get("PODMIRROR_AUTH_JWKS"), None)
    app = chart(tls=TLS, auth=AUTH, networkPolicy={"grpcFrom": [{"podSelector": {"a": "b"}}],
                                                   "healthFrom": [{"podSelector": {"c": "d"}}]})
    equal([rule["ports"][0]["port"] for rule in app.one("NetworkPolicy")["spec"]["ingress"]],
          [7443, 8443, 7443, 8081])


@test
def without_tls_nothing_is_new(cluster):
    """What is installed today stays as it is: no volume, port, variable or object more."""
    app = chart()
    equal(sorted(app.ports), ["grpc", "rest"])
    equal([volume["name"] for volume in app.pod["volumes"]], ["config"])
    equal(sorted(item["kind"] for item in app.objects),
          ["ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Role", "RoleBinding",
           "Service", "Service", "ServiceAccount"])
    equal(sorted(app.env), ["PODMIRROR_CLUSTER", "PODMIRROR_DISCOVERY", *sorted(rules.POD_ENV)])


@test
def hardened_values_are_hardened(cluster):
    app = chart(**rendering.values_file("values-hardened.yaml"))
    obeys(app, "values-hardened.yaml")
    equal(sorted(app.ports), ["grpc-tls", "health", "rest-tls"])
    for name, value in {"peer-tls": "require", "auth": "required", "audit": "writes"}.items():
        equal(app.setting(name, "off"), value, name)
    policy = app.one("NetworkPolicy")["spec"]["ingress"]
    assert all({"podSelector": {}} not in rule["from"] for rule in policy), policy
    accepted(app, cluster.directory, "values-hardened.yaml")


@test
def daemon_starts_with_hardened_values(cluster):
    """Checking settings does not read what is in certificates and rules; a start does."""
    app = chart(**rendering.values_file("values-hardened.yaml"))
    file, env = settings(app, cluster.directory)
    log = cluster.directory / "hardened.log"
    with open(log, "wb") as out:
        process = cluster.spawn([DAEMON, "--config", file], "127.0.0.1", stdout=out, stderr=out,
                                env=env | {"PODMIRROR_DISCOVERY": "none"})

    def get(connection, path):
        assert process.poll() is None, log.read_text()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    harness.wait_for(lambda: get(http.client.HTTPConnection("127.0.0.1", 8081), "/healthz") == 200,
                     10, "health")
    context = ssl.create_default_context(cafile=cluster.directory / "tls/ca.crt")
    context.check_hostname = False
    for path, status in (("/healthz", 200), ("/v1/cache/1/shop/a", 401), ("/metrics", 401)):
        connection = http.client.HTTPSConnection("127.0.0.1", 8443, context=context)
        equal(get(connection, path), status, path)


@test
def examples_are_what_kubernetes_knows(cluster):
    objects = rendering.example("client.yaml")
    for item in objects:
        rules.kube_schema.check(item)
    app = App(objects)
    volume = next(item for item in app.pod["volumes"] if "projected" in item)
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    equal(token["audience"], chart(tls=TLS, auth=AUTH).env["PODMIRROR_AUTH_JWT_AUDIENCE"])
    mount = next(item for item in app.container["volumeMounts"] if item["name"] == volume["name"])
    assert f"{mount['mountPath']}/{token['path']}" in app.container["command"][-1], app.container
    hardened = chart(**rendering.values_file("values-hardened.yaml"))
    labels = app.workload["spec"]["template"]["metadata"]["labels"]
    selected = hardened.one("NetworkPolicy")["spec"]["ingress"][1]["from"][0]["podSelector"]
    assert selected["matchLabels"].items() <= labels.items(), selected


@test
def chart_and_kustomizations_are_the_same(cluster):
    for name, values in SAME.items():
        ours, theirs = plain(kustomization(name)), plain(chart(**values))
        equal(sorted(ours), sorted(theirs), name)
        for item, content in ours.items():
            equal(content, theirs[item], f"{name}: {item}")


@test
def daemon_accepts_the_settings(cluster):
    for name, values in SAME.items():
        accepted(chart(**values), cluster.directory, f"the chart for {name}")
    for tls in (PREFER, CERT_MANAGER, SPIFFE):
        for source in ({"source": "static"}, {"source": "kube-api"}, ETCD):
            auth = AUTH if tls["mode"] == "require" else {}
            app = chart(tls=tls, discovery=source, audit="all", auth=auth)
            accepted(app, cluster.directory, f"the chart with {tls} and {source}")
    app = chart(**SAME["base"])
    app.one("ConfigMap")["data"]["podmirrord.toml"] += "no-such-setting = 1\n"
    done = check_config(app, cluster.directory)
    equal(done.returncode, 2, done.stderr)
    assert "no-such-setting" in done.stderr, done.stderr


@test
def daemon_accepts_the_settings_of_kustomizations(cluster):
    for name in SAME:
        accepted(kustomization(name), cluster.directory, name)


@test
def chart_refuses_bad_values(cluster):
    for values in ({"kind": "StatefulSet"}, {"discovery": {"source": "etcd"}},
                   {"discovery": {"source": "dns"}}, {"config": {"selector": "a=b"}},
                   {"config": {"ack": ["one"]}}, {"image": {"tag": "latest"}}, {"replica": 3},
                   {"replicas": "3"}, {"tls": {"enabled": True, "mode": False}},
                   {"tls": {"mode": "require"}}, {"tls": {"enabled": True, "plainPorts": False}},
                   {"tls": {**PREFER, "plainPorts": False}},
                   {"tls": {**TLS, "source": "cert-manager"}}, {"tls": {**TLS, "source": "vault"}},
                   {"tls": {**TLS, "secret": ""}}, {"auth": AUTH}, {"tls": PREFER, "auth": AUTH},
                   {"tls": TLS, "auth": {"required": True}},
                   {"tls": TLS, "auth": {**AUTH, "secret": "podmirror-rules"}},
                   {"tls": TLS, "auth": {**AUTH, "jwt": {"jwks": ""}}},
                   {"audit": "some"}, {"config": {"peer-tls": "off"}}):
        try:
            rendering.chart_values(**values)
        except jsonschema.ValidationError:
            continue
        raise AssertionError(f"{values} are accepted")
    known = set(re.findall(r"^#?([a-z-]+) =", (ROOT / "config/podmirrord.toml").read_text(),
                           re.MULTILINE))
    schema = json.loads((rendering.CHART / "values.schema.json").read_text())
    allowed = set(schema["properties"]["config"]["propertyNames"]["enum"])
    equal(allowed - known, set(), "settings that no daemon knows")


@test
def versions_are_one(cluster):
    project = (ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(podmirror VERSION ([\d.]+)", project)[1]
    equal(chart().container["image"], f"podmirror:{version}", "image of the chart")
    text = (rendering.CHART / "Chart.yaml").read_text()
    equal(re.findall(r"ersion: ([\d.]+)$", text, re.MULTILINE), [version] * 2, "Chart.yaml")
    equal(kustomization("base").container["image"], f"podmirror:{version}", "image of the base")


@test
def notes_name_what_was_installed(cluster):
    notes = "\n".join(text for name, text in rendering.helm("shop", discovery=ETCD).items()
                      if name.endswith(".txt"))
    if not notes:
        raise Skip("this Helm shows no notes without a cluster")
    assert "http://shop-podmirror:8080/" in notes and "podmirror-etcd" in notes, notes
    assert "{{" not in notes, notes
    notes = rendering.helm(tls={**SPIFFE}, auth=AUTH).get("NOTES.txt", "")
    assert "https://podmirror:8443/" in notes and "$TOKEN" in notes and "8080" not in notes, notes


if __name__ == "__main__":
    harness.main()
