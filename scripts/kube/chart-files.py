#!/usr/bin/env python3
"""The files of the chart that follow from others: topics/ from topics/*.yaml, settings.json from config/default.toml,
and the tables of README.md from the comments of values.yaml. Writes them; with --check only says what is not as it
should be.

Needs ruamel.yaml (PYTHONPATH; scripts/helm-test.sh sets it).
"""

import json
import re
import sys
import tomllib
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/facemill"
MARK = "<!-- From here on made of values.yaml by scripts/kube/chart-files.py. -->\n"
LONG = 60


def load(path):
    return YAML(typ="safe", pure=True).load(path.read_text())


def documented(text):
    """(path, description) of every key under a comment that begins with two dashes, and the path of every other key."""
    found, others, path, comment = [], [], [], None
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#"):
            words = words[1:].strip()
            if words.startswith("-- "):
                comment = [words[3:]]
            elif comment is not None:
                comment.append(words)
            continue
        key = re.match(r"( *)([A-Za-z]\w*):( |$)", line)
        if key:
            del path[len(key[1]) // 2 :]
            path.append(key[2])
            if comment:
                found.append((tuple(path), " ".join(comment)))
            else:
                others.append(tuple(path))
        comment = None
    return found, others


def value_at(values, path):
    for key in path:
        values = values[key]
    return values


def table(values_file):
    values = load(values_file)
    found, others = documented(values_file.read_text())
    paths = [path for path, _ in found]
    for path in others:
        # A section, whose keys are described, or a part of a described value.
        inside = any(path[: len(known)] == known for known in paths)
        section = any(known[: len(path)] == path for known in paths)
        if not (inside or section):
            sys.exit(f"values.yaml: {'.'.join(path)} has no comment that begins with '# -- '")
    lines, section = [], None
    # The keys without a section of their own first, under one heading.
    for path, text in sorted(found, key=lambda entry: len(entry[0]) > 1):
        heading = path[0] if len(path) > 1 else "general"
        if heading != section:
            lines += ["", f"### {heading}", "", "| key | default | |", "|---|---|---|"]
            section = heading
        default = json.dumps(value_at(values, path), ensure_ascii=False)
        default = "see `values.yaml`" if len(default) > LONG else f"`{default}`"
        escaped = text.replace("|", "\\|")
        lines.append(f"| `{'.'.join(path)}` | {default} | {escaped} |")
    return "\n".join(lines) + "\n"


def settings():
    """The kind of each setting, as templates/_validate.tpl names it."""
    kinds = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", dict: "table"}
    defaults = tomllib.loads((ROOT / "config/default.toml").read_text())
    known = {section: {key: kinds[type(value)] for key, value in table.items()} for section, table in defaults.items()}
    return json.dumps(known, indent=1) + "\n"


def wanted():
    """Every file that follows, with its text."""
    readme = CHART / "README.md"
    head = readme.read_text().split(MARK)[0]
    files = {readme: head + MARK + table(CHART / "values.yaml")}
    files[CHART / "settings.json"] = settings()
    for topic in sorted((ROOT / "topics").glob("*.yaml")):
        files[CHART / "topics" / topic.name] = topic.read_text()
    return files


def main():
    check = sys.argv[1:] == ["--check"]
    if not check and len(sys.argv) > 1:
        sys.exit("chart-files.py [--check]")
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    app = load(CHART / "Chart.yaml")["appVersion"]
    wrong = [] if app == version else [f"Chart.yaml: appVersion is {app}, and Cargo.toml has {version}"]
    files = wanted()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    extra = [path for path in (CHART / "topics").iterdir() if path not in files]
    if check:
        wrong += [f"{path.relative_to(ROOT)} is not as it follows: python3 scripts/kube/chart-files.py" for path in stale + extra]
    else:
        for path in stale:
            path.write_text(files[path])
        for path in extra:
            path.unlink()
    if wrong:
        sys.exit("\n".join(wrong))


main()
