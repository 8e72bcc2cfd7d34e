"""Checks an object against the Kubernetes API as Debian's python3-kubernetes knows it (1.22): its
models are generated from the API's own OpenAPI description. Every field has to be known there, of
its type, and present if it is required. What the API server checks beyond that (the form of names,
whether ports are distinct) is not checked. Of cert-manager's Certificate there is no model: its
fields are listed here."""

import re

from kubernetes.client import Configuration, models

# What can be asked for, by apiVersion and kind.
KINDS = {
    ("v1", "ConfigMap"): "V1ConfigMap",
    ("v1", "Secret"): "V1Secret",
    ("v1", "Service"): "V1Service",
    ("v1", "ServiceAccount"): "V1ServiceAccount",
    ("apps/v1", "Deployment"): "V1Deployment",
    ("apps/v1", "DaemonSet"): "V1DaemonSet",
    ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("rbac.authorization.k8s.io/v1", "Role"): "V1Role",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "V1RoleBinding",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "V1ClusterRoleBinding",
}
CERTIFICATE = ("cert-manager.io/v1", "Certificate")
# What of its spec is used here: a type, [type] for a list of it, or a map of fields.
CERTIFICATE_SPEC = {
    "secretName": str, "duration": str, "renewBefore": str, "usages": [str], "uris": [str],
    "dnsNames": [str], "issuerRef": {"name": str, "kind": str, "group": str},
    "privateKey": {"algorithm": str, "size": int, "rotationPolicy": str},
}
SCALARS = {"str": str, "int": int, "bool": bool, "float": (int, float)}


class Invalid(Exception):
    """Its text says where and why."""


def check(document):
    """Raises Invalid."""
    kind = (document.get("apiVersion"), document.get("kind"))
    if kind == CERTIFICATE:
        _build(document["metadata"], "V1ObjectMeta", "Certificate.metadata")
        _fields(document["spec"], CERTIFICATE_SPEC, "Certificate.spec")
        return
    if kind not in KINDS:
        raise Invalid(f"{kind}: not a kind that is used here")
    _build(document, KINDS[kind], document["kind"])


def _fields(value, kind, where):
    """Checks a value of an object that has no model."""
    if isinstance(kind, dict):
        if not isinstance(value, dict):
            raise Invalid(f"{where}: is not an object")
        for name, item in value.items():
            if name not in kind:
                raise Invalid(f"{where}.{name}: no such field")
            _fields(item, kind[name], f"{where}.{name}")
    elif isinstance(kind, list):
        if not isinstance(value, list):
            raise Invalid(f"{where}: is not a list")
        for i, item in enumerate(value):
            _fields(item, kind[0], f"{where}[{i}]")
    elif not isinstance(value, kind) or not value:
        raise Invalid(f"{where}: {value!r} is no {kind.__name__}")


def _build(value, type_name, where):
    """The value as the models have it."""
    if type_name == "object":       # a quantity, a port by number or name
        if not isinstance(value, (str, int)) or isinstance(value, bool):
            raise Invalid(f"{where}: {value!r} is neither a number nor a string")
        return value
    if type_name in SCALARS:
        if not isinstance(value, SCALARS[type_name]) or \
                (isinstance(value, bool) and type_name != "bool"):
            raise Invalid(f"{where}: {value!r} is not of type {type_name}")
        return value
    if items := re.fullmatch(r"list\[(.+)\]", type_name):
        if not isinstance(value, list):
            raise Invalid(f"{where}: is not a list")
        return [_build(item, items[1], f"{where}[{i}]") for i, item in enumerate(value)]
    if items := re.fullmatch(r"dict\(str, (.+)\)", type_name):
        if not isinstance(value, dict):
            raise Invalid(f"{where}: is not a map")
        return {name: _build(item, items[1], f"{where}.{name}") for name, item in value.items()}
    model = getattr(models, type_name)
    if not isinstance(value, dict):
        raise Invalid(f"{where}: is not an object")
    names = {field: name for name, field in model.attribute_map.items()}
    for field in value:
        if field not in names:
            raise Invalid(f"{where}.{field}: no such field")
    arguments = {names[field]: _build(item, model.openapi_types[names[field]], f"{where}.{field}")
                 for field, item in value.items()}
    try:
        return model(**arguments, local_vars_configuration=Configuration())
    except ValueError as error:
        raise Invalid(f"{where}: {error}") from error
