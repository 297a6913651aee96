#!/usr/bin/env python3
"""Checks what docs/runbook.md and docs/operations.md tell a person to type: check-docs.py

Every subcommand of facemill and its options against src/cli, every `a.b` that begins like a setting or a value against
config/default.toml and the chart's values, what is looked for in `config show` against what that prints, and every name of
a Deployment or Job against the chart.
"""

import re
import sys
import tomllib
from pathlib import Path

import queries

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/runbook.md", ROOT / "docs/operations.md"]
CLI = ROOT / "src/cli"
CHART = ROOT / "helm/facemill"

# Deployments, Jobs and what else is named after the release.
NAMES = {"fetch", "preprocess", "detect", "monitor", "topics", "schema", "check", "setup"}


def code(page):
    """What stands in blocks and in spans of code, a command in one line."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", re.sub(r"^ *```.*?^ *```", "", page, flags=re.MULTILINE | re.DOTALL))
    for block in blocks:
        yield from re.sub(r" \\\n\s*", " ", block).splitlines()
    for span in spans:
        yield " ".join(span.split())


def options(subcommand):
    """The long options of a subcommand, its own and those that all have."""
    files = [CLI / f"{subcommand}.rs", CLI / "kafka.rs", CLI / "mod.rs"]
    text = "".join(file.read_text() for file in files if file.exists())
    fields = re.findall(r"#\[arg\((?:[^\n]|\n(?!\s*\)\]))*?\blong\b.*?\)\]\s*(?:pub(?:\(super\))? )?(\w+):", text, re.DOTALL)
    return {field.replace("_", "-") for field in fields} | {"help"}


def actions(subcommand):
    """The second words that a subcommand has."""
    text = (CLI / f"{subcommand}.rs").read_text()
    body = re.search(r"#\[derive\(Debug, Subcommand\)\]\s*enum \w+ \{(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    return {name.lower() for name in re.findall(r"^    (\w+)(?:\(\w+\))?,", body[1], re.MULTILINE)} if body else set()


def of_commands(lines):
    body = re.search(r"^enum Command \{(.*?)^\}", (CLI / "mod.rs").read_text(), re.DOTALL | re.MULTILINE)[1]
    known = {name.lower() for name in re.findall(r"^    (\w+)(?:\(|,)", body, re.MULTILINE)}
    for line in lines:
        for words in re.findall(r"(?:^|[\s;(])(?:fm|facemill) +([a-z][^|;#]*)", line):
            subcommand, *rest = words.split()
            if subcommand not in known:
                yield f"facemill has no subcommand {subcommand}: {line}"
                continue
            if (wanted := actions(subcommand)) and rest and rest[0] not in wanted:
                yield f"facemill {subcommand} has no {rest[0]}: {line}"
            for option in re.findall(r"(?:^|\s)--([a-z-]+)", words):
                if option not in options(subcommand):
                    yield f"facemill {subcommand} has no --{option}: {line}"


def has(tree, keys):
    """Whether the keys lead somewhere; below what is empty anything may stand."""
    for key in keys:
        if not isinstance(tree, dict) or not tree:
            return tree in ({}, None)
        if key not in tree:
            return False
        tree = tree[key]
    return True


def of_settings(lines):
    settings = tomllib.loads((ROOT / "config/default.toml").read_text())
    values = queries.load_yaml(CHART / "values.yaml")
    values["config"] = settings
    for line in lines:
        if re.match(r"[a-z]+(\.\w+)+$", line) or "--set" in line or line.startswith("config."):
            found = [line] if " " not in line else re.findall(r"--set ([a-z]\w*(?:\.\w+)+)=", line)
            for key in found:
                keys = key.split("=")[0].split(".")
                if keys[0] in settings.keys() | values.keys() and not (has(settings, keys) or has(values, keys)):
                    yield f"there is no setting or value {key}"


def shown(tree, path=""):
    """The settings as `facemill config show` prints them: SECTION.KEY = VALUE  # where it comes from"""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from shown(value, f"{path}{key}.")
        else:
            yield f"{path}{key} = {value}  # the defaults"


def of_greps(lines):
    printed = list(shown(tomllib.loads((ROOT / "config/default.toml").read_text())))
    for line in lines:
        for pattern in re.findall(r"config show \| grep (?:-\w+ )*'([^']+)'", line):
            if not any(re.search(pattern, setting) for setting in printed):
                yield f"config show prints nothing like this: {line}"


def of_names(lines):
    for line in lines:
        for name in re.findall(r"\$F-([a-z]+)", line):
            if name not in NAMES:
                yield f"the chart makes nothing named $F-{name}: {line}"


def main():
    if sys.argv[1:]:
        sys.exit(__doc__)
    count, faults = 0, []
    for page in PAGES:
        lines = list(code(page.read_text()))
        count += len(lines)
        for fault in (*of_commands(lines), *of_settings(lines), *of_greps(lines), *of_names(lines)):
            faults.append(f"check-docs: {page.relative_to(ROOT)}: {fault}")
    print(*faults, sep="\n", end="\n" if faults else "")
    print(f"{count} lines and spans of code: {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
