#!/usr/bin/env python3
"""JSON Schemas in the folders and under the names that kubeconform looks for.

    schemas.py kubernetes FROM TO   the schemas of the package kubernetes-validate
    schemas.py crds FROM TO         CustomResourceDefinitions, as YAML (needs ruamel.yaml)
"""

import json
import pathlib
import sys


def kubernetes(source, target):
    """All versions, strict: unknown keys are refused. Each has one file of definitions to which the others refer by a
    path; kubeconform wants that relative, and no identifier that says otherwise."""
    for folder in sorted(source.glob("v*-local-strict")):
        to = target / folder.name.replace("-local-strict", "-standalone-strict")
        to.mkdir(parents=True)
        for file in folder.glob("*.json"):
            schema = json.loads(file.read_text().replace('"/api/_definitions.json#', '"_definitions.json#'))
            schema.pop("$id", None)
            (to / file.name).write_text(json.dumps(schema))


def closed(schema):
    """The schema of a custom resource with unknown keys refused, as an API server drops them. What stands under
    allOf, anyOf, oneOf and not only narrows what is declared beside it."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = closed(schema[key])
    return schema


def crds(source, target):
    from ruamel.yaml import YAML

    target.mkdir(parents=True)
    for file in sorted(source.rglob("*.yaml")):
        for crd in YAML(typ="safe", pure=True).load_all(file):
            spec = crd["spec"]
            for version in spec["versions"]:
                name = f"{spec['names']['kind'].lower()}-{spec['group']}-{version['name']}.json"
                (target / name).write_text(json.dumps(closed(version["schema"]["openAPIV3Schema"])))


if __name__ == "__main__":
    command, source, target = sys.argv[1:]
    {"kubernetes": kubernetes, "crds": crds}[command](pathlib.Path(source), pathlib.Path(target))
