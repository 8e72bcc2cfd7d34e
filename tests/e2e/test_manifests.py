#!/usr/bin/python3
"""What deploy/ gives to Kubernetes: each kustomization and the chart are rendered, every object is
checked against the API, against the rules of tests/manifests/rules.py, and by the daemon itself."""

import copy
import functools
import json
import os
import pathlib
import re
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
# Each kustomization, and the values with which the chart says the same.
SAME = {
    "base": {"discovery": {"source": "static"}},
    "overlays/kube-api": {},
    "overlays/etcd": {"discovery": ETCD},
    "overlays/daemonset": {"kind": "DaemonSet"},
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


def pem_files(directory):
    """A certificate authority's, and a client's, under the names of the manifests."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=test", "-days", "1",
                    "-keyout", "tls.key", "-out", "tls.crt"],
                   cwd=directory, check=True, capture_output=True)
    (directory / "ca.crt").write_bytes((directory / "tls.crt").read_bytes())


def check_config(app, directory):
    """The daemon reads the settings as it would in the pod: the file of the ConfigMap, and the
    environment with the paths of mounted Secrets moved to where this test has put them."""
    file = directory / "podmirrord.toml"
    file.write_text(app.config_text)
    pem_files(directory / "etcd")
    if harness.ISOLATED in os.environ:      # then /run is ours
        pem_files(ACCOUNT)
        (ACCOUNT / "token").write_text("token")
    env = {name: value.replace("/etc/podmirror-etcd", str(directory / "etcd"))
           for name, value in app.env.items()}
    env |= {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
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
    volume = next(item for item in copied.pod["volumes"] if "configMap" in item)
    volume["configMap"]["name"] = name
    file = copied.one("ConfigMap")
    file["metadata"]["name"], file["data"] = name, app.config
    return {f"{item['kind']} {item['metadata']['name']}": item for item in objects}


@test
def rules_notice_what_breaks_them(cluster):
    obeys(chart(), "the chart")
    for rule, changes in rules.BROKEN.items():
        for number, change in enumerate(changes):
            app = chart()
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
    app = chart(config={"ack": "majority", "max-key-bytes": 1000, "bootstrap-alone": True},
                tolerations=[{"operator": "Exists"}], nodeSelector={"disk": "1"},
                affinity={"nodeAffinity": {}}, podAnnotations={"a": "1"},
                imagePullSecrets=[{"name": "registry"}])
    obeys(app, "the chart with every value")
    equal(app.config["max-key-bytes"], 1000)
    equal(app.pod["tolerations"], [{"operator": "Exists"}])


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
                   {"replicas": "3"}):
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


if __name__ == "__main__":
    harness.main()
