"""Renders what is under deploy/ into Kubernetes' objects: the kustomizations by kubectl, the chart
by Helm, or where that is not at hand by helm_template.go, which uses the same engine."""

import copy
import json
import os
import pathlib
import shutil
import subprocess

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / "deploy/kubernetes"
CHART = ROOT / "deploy/helm/podmirror"
BUILT = ROOT / "build/manifests"
KUBE_VERSION = "1.30.0"     # for Helm, which asks no cluster


class Unavailable(Exception):
    """What it takes is not on this machine; its text says what."""


def _run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, timeout=400, check=False,
                          **options)
    assert done.returncode == 0, f"{command[0]} {command[1]}: {done.stderr}"
    return done.stdout


def _objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


def kustomization(name):
    """The objects of deploy/kubernetes/<name>."""
    if shutil.which("kustomize"):
        return _objects(_run(["kustomize", "build", KUSTOMIZE / name]))
    if not shutil.which("kubectl"):
        raise Unavailable("neither kubectl nor kustomize")
    version = json.loads(_run(["kubectl", "version", "--client", "-o", "json"]))
    if "kustomizeVersion" not in version:
        raise Unavailable("kubectl is older than 1.24, and so is its kustomize")
    return _objects(_run(["kubectl", "kustomize", KUSTOMIZE / name]))


def example(name):
    """The objects of deploy/kubernetes/examples/<name>."""
    return _objects((KUSTOMIZE / "examples" / name).read_text())


def values_file(name):
    """What a file of values beside the chart's own gives."""
    return yaml.safe_load((CHART / name).read_text())


def _merge(values, given):
    for name, value in given.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            _merge(values[name], value)
        else:
            values[name] = copy.deepcopy(value)
    return values


def chart_values(**given):
    """The chart's values with the given ones put over them; raises jsonschema.ValidationError."""
    values = _merge(yaml.safe_load((CHART / "values.yaml").read_text()), given)
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema, jsonschema.Draft7Validator)
    return values


def helm(release="podmirror", **given):
    """{name of the template: text} of the chart with these values over its own."""
    values = chart_values(**given)
    if shutil.which("helm"):
        _run(["helm", "lint", CHART, "--strict", "--kube-version", KUBE_VERSION, "--values", "-"],
             input=json.dumps(values))
        command = ["helm", "template", release, CHART, "--kube-version", KUBE_VERSION]
        return {"all": _run([*command, "--values", "-"], input=json.dumps(values))}
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    release = {"Name": release, "Namespace": "default", "Service": "Helm"}
    data = {"Values": values, "Release": release,
            "Chart": {name[0].upper() + name[1:]: value for name, value in chart.items()}}
    templates = {path.name: path.read_text() for path in (CHART / "templates").iterdir()}
    return json.loads(_run([_helm_template()],
                           input=json.dumps({"templates": templates, "data": data})))


def chart(release="podmirror", **given):
    """The objects of the chart."""
    return [document for name, text in sorted(helm(release, **given).items())
            if not name.endswith(".txt") for document in _objects(text)]


def _helm_template():
    """The program, built anew when its source is newer."""
    source = pathlib.Path(__file__).with_name("helm_template.go")
    program = BUILT / "helm_template"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        # Debian's libraries of Go are sources below a GOPATH.
        env = dict(os.environ, GO111MODULE="off", GOPATH="/usr/share/gocode", GOFLAGS="",
                   GOCACHE=str(BUILT / "go-cache"))
        _run(["go", "build", "-o", program, source], env=env)
    return program
