#!/usr/bin/env bash
# Whether an SBOM is CycloneDX 1.5 and complete: sbom-check.sh FILE
set -euo pipefail

file=$(realpath "$1")
cd "$(dirname "$0")/.."
wheels=${XDG_CACHE_HOME:-$HOME/.cache}/facemill/tools/sbom-wheels
scripts/need.sh python3
if ! cmp --silent scripts/sbom.txt "$wheels/requirements.txt"; then
    rm -rf "$wheels"
    python3 -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
        --root-user-action ignore --target "$wheels" --requirement scripts/sbom.txt
    cp scripts/sbom.txt "$wheels/requirements.txt"
fi
PYTHONPATH=$wheels python3 - "$file" <<'PYTHON'
import json
import re
import sys
from pathlib import Path

import cyclonedx.schema
import jsonschema

folder = Path(cyclonedx.schema.__file__).parent / "_res"


def schema(address):
    """The schemas name each other by addresses; here they are files."""
    return json.loads((folder / address.rsplit("/", 1)[-1].split("#")[0]).read_text())


def fail(message):
    sys.exit(f"sbom-check: {message}")


bom = json.loads(Path(sys.argv[1]).read_text())
wanted = schema("bom-1.5.SNAPSHOT.schema.json")
resolver = jsonschema.RefResolver.from_schema(wanted, handlers={"http": schema})
error = jsonschema.exceptions.best_match(jsonschema.Draft7Validator(wanted, resolver=resolver).iter_errors(bom))
if error:
    fail(f"no CycloneDX 1.5: {error.json_path}: {error.message}")

components = {component["name"]: component for component in bom["components"]}
sums = dict(reversed(line.split()) for line in Path("assets/SHA256SUMS").read_text().splitlines())
found = {name: component["hashes"][0]["content"] for name, component in components.items() if component.get("hashes")}
for name, files in {
    "onnxruntime": ["x86_64/libonnxruntime.so", "aarch64/libonnxruntime.so"],
    "face_detection_yunet_2023mar": ["face_detection_yunet_2023mar.onnx"],
}.items():
    if found.get(name) not in [sums[file] for file in files]:
        fail(f"{name} does not have a sum of assets/SHA256SUMS")

# Each dependency that Cargo.toml names, but those of tests.
manifest = Path("Cargo.toml").read_text()
sections = re.findall(r"^\[((?:target\.[^\n]*)?dependencies)\]\n(.*?)(?=^\[)", manifest, re.M | re.S)
named = [name for _, section in sections for name in re.findall(r"^([A-Za-z0-9_-]+) = ", section, re.M)]
missing = sorted(set(named) - set(components))
if missing:
    fail(f"without {', '.join(missing)}")

unlicensed = [name for name, component in components.items() if not component.get("licenses") and "deb/" not in component.get("purl", "")]
if unlicensed:
    fail(f"no licence of {', '.join(unlicensed)}")
known = {component["bom-ref"] for component in bom["components"]} | {bom["metadata"]["component"]["bom-ref"]}
for edges in bom["dependencies"]:
    for ref in [edges["ref"], *edges.get("dependsOn", [])]:
        if ref not in known:
            fail(f"{ref} is in dependencies, but no component")
if "file://" in json.dumps(bom):
    fail("it names a folder of the machine that wrote it")
print(f"sbom-check: {len(bom['components'])} components, CycloneDX 1.5")
PYTHON
