#!/usr/bin/env python3
"""What rendered manifests must hold, beyond their schemas: chart-check.py CHECK FOLDER [PROGRAM]

pods     every pod keeps to the restricted Pod Security Standard, and has no variable twice
program  the program takes every rendered facemill.toml, alone and with every pod's variables, and every pod's arguments
topics   the topics are what `facemill topics render` says for the same settings
network  the addresses that fetch may reach are those that the program lets it reach

Needs ruamel.yaml (PYTHONPATH; scripts/helm-test.sh sets it).
"""

import ipaddress
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
# Kubernetes: Pod Security Standards, restricted.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def documents(text):
    return [document for document in YAML(typ="safe", pure=True).load_all(text) if document]


def by_file(folder):
    for path in sorted(Path(folder).glob("*.yaml")):
        yield path.stem, documents(path.read_text())


def pod_of(document):
    return document.get("spec", {}).get("template", {}).get("spec") if document["kind"] in ("Deployment", "Job") else None


def faults_of_pod(pod):
    """What the standard forbids, and three things that are this chart's own promise."""
    whole = pod.get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= VOLUMES:
            yield f"volume {volume['name']} is of no permitted kind"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken"
    for container in pod.get("initContainers", []) + pod["containers"]:
        own = container.get("securityContext", {})
        effective = {**whole, **own}
        capabilities = own.get("capabilities", {})
        rules = {
            "runAsNonRoot": effective.get("runAsNonRoot") is True,
            "runAsUser": effective.get("runAsUser") != 0,
            "seccompProfile": effective.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities.drop": "ALL" in capabilities.get("drop", []),
            "capabilities.add": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
            "procMount": own.get("procMount", "Default") == "Default",
            "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "memory limit": "memory" in container.get("resources", {}).get("limits", {}),
        }
        yield from (f"container {container['name']}: {name}" for name, holds in rules.items() if not holds)
        names = Counter(variable["name"] for variable in container.get("env", []))
        # A server-side apply refuses the pod then.
        yield from (f"container {container['name']}: {name} is there {n} times" for name, n in names.items() if n > 1)


def check_pods(folder):
    count = 0
    for name, rendered in by_file(folder):
        for document in rendered:
            pod = pod_of(document)
            if pod:
                count += 1
                for fault in faults_of_pod(pod):
                    yield f"{name}: {document['kind']} {document['metadata']['name']}: {fault}"
    if count < 10:
        yield f"only {count} pods were found"
    print(f"{count} pods")


def configurations(folder):
    """(values file, data) of every ConfigMap with a configuration."""
    for name, rendered in by_file(folder):
        for document in rendered:
            data = document.get("data", {}) if document["kind"] == "ConfigMap" else {}
            if "facemill.toml" in data:
                yield name, data


def variables_of(pod):
    """The program's own variables, with stand-ins for what only a cluster knows."""
    known = {"secretKeyRef": "somebody", "resourceFieldRef": "2", "fieldRef": "pod"}
    for entry in pod["containers"][0]["env"]:
        if entry["name"].startswith("FACEMILL__"):
            yield entry["name"], entry["value"] if "value" in entry else known[next(iter(entry["valueFrom"]))]


def run(program, *arguments, config, variables=()):
    # Nothing of this shell; the user's name comes from a Secret where it is not in the file.
    environment = {"PATH": os.environ["PATH"], "FACEMILL_CONFIG": str(config), **dict(variables)}
    if "password_file" in config.read_text() and "\nusername" not in config.read_text():
        environment.setdefault("FACEMILL__CQL__USERNAME", "somebody")
    return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=False)


def check_program(folder, program):
    count, commands, seen = 0, set(), set()
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "facemill.toml"
        for name, data in configurations(folder):
            config.write_text(data["facemill.toml"])
            shown = run(program, "config", "show", config=config)
            count += 1
            if shown.returncode != 0:
                yield f"{name}: {shown.stderr.strip()}"
            elif f"# {config}" not in shown.stdout:
                yield f"{name}: nothing of the file has an effect"
        for name, rendered in by_file(folder):
            maps = {d["metadata"]["name"]: d.get("data") for d in rendered if d["kind"] == "ConfigMap"}
            for pod in filter(None, map(pod_of, rendered)):
                commands.add(tuple(pod["containers"][0]["args"]))
                source = next(volume for volume in pod["volumes"] if volume["name"] == "config")["projected"]["sources"][0]
                toml, variables = maps[source["configMap"]["name"]]["facemill.toml"], tuple(variables_of(pod))
                if (toml, variables) in seen:
                    continue
                seen.add((toml, variables))
                config.write_text(toml)
                shown = run(program, "config", "show", config=config, variables=variables)
                if shown.returncode != 0:
                    yield f"{name}: {' '.join(pod['containers'][0]['args'])}: {shown.stderr.strip()}"
        # The help of a command, where all that stands before it is understood.
        for command in sorted(commands):
            helped = run(program, *command, "--help", config=config)
            if helped.returncode != 0:
                yield f"{' '.join(command)}: {helped.stderr.strip()}"
    if count < 10:
        yield f"only {count} configurations were found"
    print(f"{count} configurations, {len(seen)} with variables, {len(commands)} commands")


def check_topics(folder, program):
    """Resources of Strimzi, and files for the Job, against what the program says with the same values."""
    compared = 0
    with tempfile.TemporaryDirectory() as scratch:
        config = Path(scratch) / "facemill.toml"

        def render(*flags):
            return topics_by_name(run(program, "topics", "render", "--format", "strimzi", *flags, config=config))

        for name, rendered in by_file(folder):
            resources = [document for document in rendered if document["kind"] == "KafkaTopic"]
            maps = [document.get("data", {}) for document in rendered if document["kind"] == "ConfigMap"]
            config.write_text(next(data["facemill.toml"] for data in maps if "facemill.toml" in data))
            flags = ["--cluster", "k"]
            files = Path(scratch) / name
            declared = {file: text for data in maps for file, text in data.items() if file.endswith(".yaml")}
            if resources:
                api = resources[0]["apiVersion"].split("/")[1]
                flags = ["--cluster", resources[0]["metadata"]["labels"]["strimzi.io/cluster"], "--api-version", api]
                ours = {document["metadata"]["name"]: document for document in resources}
            elif declared:
                files.mkdir()
                for file, text in declared.items():
                    (files / file).write_text(text)
                ours = render(*flags, "--dir", str(files))
            else:
                continue
            compared += 1
            theirs = render(*flags)
            if set(ours) != set(theirs):
                yield f"{name}: other topics: {sorted(set(ours) ^ set(theirs))}"
                continue
            for topic, document in theirs.items():
                wanted = expected(name, topic, document["spec"])
                if ours[topic]["spec"] != wanted or ours[topic]["apiVersion"] != document["apiVersion"]:
                    yield f"{name}: {topic}: {json.dumps(ours[topic]['spec'])} instead of {json.dumps(wanted)}"
    if compared < 2:
        yield f"only {compared} sets of topics were found"
    print(f"{compared} sets of topics")


def topics_by_name(rendered):
    if rendered.returncode != 0:
        sys.exit(rendered.stderr)
    return {document["metadata"]["name"]: document for document in documents(rendered.stdout)}


def expected(name, topic, spec):
    """What the program declares, with the figures of the values of this name."""
    values = {}
    for file in (f"values-{name}.yaml", f"ci/{name}-values.yaml"):
        path = ROOT / "helm/facemill" / file
        if path.exists():
            values.update((documents(path.read_text()) or [{}])[0])
    short = spec.get("topicName", topic).removeprefix(values.get("kafka", {}).get("topicPrefix", "facemill."))
    override = values["topics"].get("overrides", {}).get(short, {})
    for key in ("partitions", "replicas"):
        figure = override.get(key, values["topics"].get(key))
        if figure is not None:
            spec[key] = figure
            if key == "replicas":
                spec["config"]["min.insync.replicas"] = max(1, figure - 1)
    spec["config"].update(override.get("config", {}))
    return spec


def check_network(folder):
    """The lists of the program's own test: every address there is refused or permitted for a reason."""
    policies = [d for _, rendered in by_file(folder) for d in rendered if d["kind"] == "NetworkPolicy"]
    # One without networks of the user's own.
    fetch = next(p for p in policies if p["metadata"]["name"].endswith("-fetch") and len(p["spec"]["egress"]) == 1)
    blocks = [peer["ipBlock"] for peer in fetch["spec"]["egress"][0]["to"]]

    def reaches(address):
        inside = [b for b in blocks if address in ipaddress.ip_network(b["cidr"])]
        return any(not any(address in ipaddress.ip_network(cidr) for cidr in b["except"]) for b in inside)

    text = (ROOT / "src/stages/fetch/address_tests.rs").read_text()
    count = 0
    for name, permitted in (("REFUSED", False), ("PERMITTED", True)):
        table = re.search(rf'const {name}: &str = "([^"]*)"', text)[1].split()
        for word in table:
            address = ipaddress.ip_address(word)
            # ISATAP is a form of the last 64 bits, which no list of networks can say: the program alone refuses it.
            isatap = address.version == 6 and address.packed[8:12] in (b"\x00\x00\x5e\xfe", b"\x02\x00\x5e\xfe")
            if isatap and not permitted:
                continue
            count += 1
            if reaches(address) != permitted:
                yield f"fetch {'cannot' if permitted else 'can'} reach {word}"
    if count < 100:
        yield f"only {count} addresses were found"
    print(f"{count} addresses")


CHECKS = {"pods": check_pods, "program": check_program, "topics": check_topics, "network": check_network}


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    faults = list(CHECKS[sys.argv[1]](*sys.argv[2:]))
    if faults:
        sys.exit("\n".join(faults))


main()
