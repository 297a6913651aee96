#!/usr/bin/env python3
"""What the dashboard and the rules ask Prometheus.

queries.py                       every expression, with where it stands
queries.py --metrics             the names of all metrics in them
queries.py --declared FILE...    exits 1 when a name is not in these files, or a label is not in the tables in which they
                                 have it (docs/metrics.md: `name` | kind | labels |)
queries.py --check URL           asks the Prometheus at URL, which has scraped a real run, every query of the dashboard:
                                 exits 1 for one that fails or has no result, for a label that no series has, and for a
                                 rule that could not be evaluated
    --window 1m                  what the dashboard's $__rate_interval stands for (5m)
    --allow-empty 'TITLE=WHY'    a panel that may be empty in this run; may be repeated. Optional settings, such as the
                                 deadline, are known; --strict wants them too, and a series of every metric that
                                 is asked for
queries.py --self-test           whether it reads PromQL rightly
queries.py --faster 60           prints the rules with every duration divided by 60, in whole seconds and at least one:
                                 a test that runs the real rules does not wait for 20 minutes
"""

import argparse
import json
import math
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import dashboard

RULES = dashboard.FILE.parents[1] / "rules/facemill.rules.yaml"

# Of PromQL: what is no metric.
WORDS = set("and or unless by without on ignoring group_left group_right offset bool inf nan start end atan2".split())
# Not ours: of Prometheus itself and of kube-state-metrics, where the rules ask whether it is there.
FOREIGN = re.compile(r"ALERTS$|up$|kube_")
# Has a series only while something waits for a server that is away.
AT_TIMES = {"facemill_waiting"}
# What the scrape adds.
TARGET_LABELS = {"namespace", "release", "job", "instance", "pod", "deployment"}

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
LISTS = r"\b(by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"


def load_yaml(path):
    """The file's content, by PyYAML or, where that is not installed, ruamel.yaml."""
    try:
        import yaml
    except ImportError:
        from ruamel.yaml import YAML

        return YAML(typ="safe", pure=True).load(path)
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def rules():
    """All rules of the file."""
    return [rule for group in load_yaml(RULES)["groups"] for rule in group["rules"]]


def panel_queries():
    """(title of the panel, letter of the query, expression) of the dashboard as it is shipped."""
    for panel in json.loads(dashboard.FILE.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["refId"], target["expr"]


def variables():
    """The expressions behind the dashboard's variables."""
    for one in json.loads(dashboard.FILE.read_text())["templating"]["list"]:
        if one["type"] == "query":
            yield f"variable {one['name']}", re.sub(r"^label_values\((.*),[^,]*\)$", r"\1", one["query"]["query"])


def expressions():
    """(where it stands, expression) of everything."""
    for title, letter, expr in panel_queries():
        yield f"panel {title}, {letter}", expr
    yield from variables()
    for rule in rules():
        yield f"rule {rule.get('alert') or rule['record']}", rule["expr"]


def without_texts(expr):
    return re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", '""', expr)


def metrics_of(expr):
    """The names of the metrics in an expression, recorded ones included."""
    expr = without_texts(expr)
    expr = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", expr)
    expr = re.sub(LISTS, " ", expr)
    names = re.finditer(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)(\s*\()?", expr)
    return {name[1] for name in names if not name[2] and name[1].lower() not in WORDS}


def labels_of(expr):
    """The labels that an expression asks for."""
    expr = without_texts(expr)
    found = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", " ".join(re.findall(r"\{[^}]*\}", expr))))
    for _, names in re.findall(LISTS, expr):
        found |= {name.strip() for name in names.split(",") if name.strip()}
    return found


def recorded():
    """Name of a recorded series → the expression that makes it."""
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def used_metrics():
    """Names in expressions, less those that the rules record."""
    return set().union(*(metrics_of(expr) for _, expr in expressions())) - recorded().keys()


def declared_labels(text):
    """Name of a metric → its labels, from the rows of tables: | `name` | kind | labels |"""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", text, re.MULTILINE)
    return {name: {label.strip(" `") for label in labels.split(",") if label.strip()} for name, labels in rows}


def plain(name):
    """A histogram is declared without its suffixes."""
    return re.sub(r"_(bucket|count|sum)$", "", name)


def undeclared(files):
    """What is used and not declared in the files, a line each."""
    text = "\n".join(Path(file).read_text() for file in files)
    declared = set(re.findall(r"\b(?:facemill|process)_\w+", text))
    for name in sorted(used_metrics()):
        if not FOREIGN.match(name) and not {name, plain(name)} & declared:
            yield f"{name} is not declared"
    tables, records = declared_labels(text), recorded()

    def labels_from(expr):
        """The labels that the metrics of an expression have; None where one of them is not in a table."""
        found = set(TARGET_LABELS) | {"le", "severity", "alertname", "alertstate"} | made_labels(expr)
        for name in metrics_of(expr):
            if name in records:
                labels = labels_from(records[name])
            else:
                labels = set() if FOREIGN.match(name) else tables.get(name, tables.get(plain(name)))
            if labels is None:
                return None
            found |= labels
        return found

    for where, expr in expressions():
        has = labels_from(expr)
        for label in sorted(labels_of(expr) - has if has is not None else ()):
            if not any(map(FOREIGN.match, metrics_of(expr))):
                yield f"{where}: no metric in it is declared with the label {label}"


def made_labels(expr):
    """Labels that an expression makes itself."""
    return set(re.findall(r"label_replace\(\w+\([^()]*\), \"(\w+)\"", expr))


def ask(url, path, **values):
    """What the API of Prometheus answers, or SystemExit."""
    request = f"{url.rstrip('/')}/api/v1/{path}?{urllib.parse.urlencode(values, doseq=True)}"
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error).get("error", error)) from None
    except OSError as error:
        sys.exit(f"queries: no Prometheus answers at {url}: {error}")


def has_values(url, expr):
    """Whether the expression has a result that is a number."""
    return any(not math.isnan(float(series["value"][1])) for series in ask(url, "query", query=expr)["result"])


def missing_labels(url, expr, labels):
    """Labels in the expression that no series of its metrics has. `labels` keeps what was asked before."""
    known = TARGET_LABELS | made_labels(expr)
    for metric in metrics_of(expr):
        if metric not in labels:
            labels[metric] = {label for series in ask(url, "series", **{"match[]": metric}) for label in series}
        known |= labels[metric]
    return labels_of(expr) - known


def check(url, window, allowed, strict):
    """Prints what is wrong, and how much was looked at. Returns whether all is well."""
    optional = {} if strict else dashboard.empty_when()
    faults, empty, labels, count = [], [], {}, 0
    for title, letter, expr in panel_queries():
        count += 1
        for name, value in (("$__rate_interval", window), ("$__range", "1h"), ("$namespace", ".*"), ("$release", ".*")):
            expr = expr.replace(name, value)
        why = allowed.get(title) or optional.get((title, letter))
        try:
            if has_values(url, expr):
                for label in sorted(missing_labels(url, expr, labels)):
                    faults.append(f"panel {title}, {letter}: no series has the label {label}: {expr}")
            elif why:
                empty.append(f"empty, as it may be: panel {title}, {letter}: {why}")
            else:
                faults.append(f"panel {title}, {letter}: no result: {expr}")
        except ValueError as error:
            faults.append(f"panel {title}, {letter}: {error}: {expr}")
    loaded = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"]]
    for rule in loaded:
        if rule["health"] == "err":
            faults.append(f"rule {rule['name']}: {rule['lastError']}")
    asked = set().union(*(metrics_of(expr) for _, _, expr in panel_queries()))
    unseen = sorted(asked - set(ask(url, "label/__name__/values")))
    # A query that says 0 for want of a series has a result all the same. Where nothing may be missing that is a fault:
    # no other query would tell that a metric has another name.
    notes = [f"no series so far: {', '.join(unseen)}"] if unseen and not strict else []
    if strict:
        missing = [metric for metric in unseen if metric not in AT_TIMES and not FOREIGN.match(metric)]
        faults.extend(f"no series of {metric}" for metric in missing)
    for line in (*empty, *notes, *faults):
        print(line)
    print(f"{count} queries of the dashboard, {len(loaded)} rules that are loaded: {len(faults)} faults")
    return not faults


def faster(factor):
    """The rules with all durations divided."""

    def divide(text):
        seconds = sum(float(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))
        return f"{max(1, round(seconds / factor))}s"

    lines = []
    for line in RULES.read_text().splitlines():
        if re.match(r"\s+for: ", line):
            line = re.sub(r"\w+$", lambda found: divide(found[0]), line)
        line = re.sub(r"(\[|offset )(\w+)", lambda found: found[1] + divide(found[2]), line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def self_test():
    """Exits with an error when PromQL is read wrongly."""
    expr = """histogram_quantile(0.99, sum by (le, stage) (rate(a_bucket{x="by (no)",y!~'{z="1"}'}[5m] offset 1h))) > 0
        or on (b) group_left (c) label_replace(vector(0), "made", "none", "", "") and level:d:rate5m == Inf * time()"""
    assert metrics_of(expr) == {"a_bucket", "level:d:rate5m"}, metrics_of(expr)
    assert labels_of(expr) == {"le", "stage", "x", "y", "b", "c"}, labels_of(expr)
    assert made_labels(expr) == {"made"}, made_labels(expr)
    assert metrics_of("rate(process_cpu_seconds_total{@}[$__rate_interval])") == {"process_cpu_seconds_total"}
    assert declared_labels("| `m` | gauge | a, b | text |\n| `n` | counter |  | text |") == {"m": {"a", "b"}, "n": set()}
    lines = faster(60).splitlines()
    assert "        for: 5s" in lines and not any("[3m]" in line or "offset 15m" in line for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--declared", nargs="+", metavar="FILE")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--check", metavar="URL")
    parser.add_argument("--window", default="5m")
    parser.add_argument("--allow-empty", action="append", default=[], metavar="TITLE=WHY")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--faster", type=int, metavar="N")
    args = parser.parse_args()
    if args.faster:
        print(faster(args.faster), end="")
    elif args.metrics:
        print(*sorted(used_metrics()), sep="\n")
    elif args.declared:
        for file in args.declared:
            if not Path(file).is_file():
                sys.exit(f"queries: there is no {file}")
        faults = list(undeclared(args.declared))
        print(*(f"queries: {fault}" for fault in faults), sep="\n", end="\n" if faults else "")
        sys.exit(bool(faults))
    elif args.self_test:
        self_test()
    elif args.check:
        allowed = dict(one.split("=", 1) for one in args.allow_empty)
        if unknown := allowed.keys() - {title for title, _, _ in panel_queries()}:
            sys.exit(f"queries: --allow-empty: there is no panel {', '.join(unknown)}")
        sys.exit(not check(args.check, args.window, allowed, args.strict))
    else:
        for where, expr in expressions():
            print(f"{where}\t{' '.join(expr.split())}")


if __name__ == "__main__":
    main()
