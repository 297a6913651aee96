#!/usr/bin/env python3
"""Checks what promtool does not: that every alert can be acted on and is tested.

check-rules.py                      of each alert: its name, severity, texts and runbook section, and that there are
                                    tests named "ALERT: firing", "ALERT: quiet" and "ALERT: restart" (a remark may
                                    follow) that test what they say, with series that the program could have sent
                                    and that the runbook's table of waits has all that the program can wait for
check-rules.py --mutate PROMTOOL    breaks each comparison, threshold and `for` of each alert, one at a time, and wants
                                    a test to fail every time (ten minutes)
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import queries

ROOT = Path(__file__).parents[2]
RUNBOOK = ROOT / "docs/runbook.md"
TESTS = sorted((ROOT / "helm/rules-tests").glob("*.yaml"))
KINDS = ("firing", "quiet", "restart")

# Texts without a figure: there is none to tell.
NO_FIGURE = {"FacemillNoData"}


def anchors(page):
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    }


def alerts(groups):
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def texts(alert, page):
    """What is wrong with an alert's labels and annotations."""
    name, notes = alert["alert"], alert.get("annotations", {})
    if not re.fullmatch(r"Facemill[A-Z]\w+", name):
        yield "its name does not begin with Facemill"
    if alert.get("labels", {}).get("severity") not in ("critical", "warning"):
        yield "severity is neither critical nor warning"
    summary, description = notes.get("summary", ""), notes.get("description", "")
    if not summary or "\n" in summary or re.search(r"[.!?](\s|$)", summary):
        yield "summary is not one sentence without a full stop"
    if not description.endswith(".") or len(re.findall(r"[.:]\s", description)) < 1:
        yield "description is not the figures and the next step, in sentences"
    if "$value" not in summary + description and name not in NO_FIGURE:
        yield "neither summary nor description has the figure ($value)"
    if notes.get("runbook_url") != f"docs/runbook.md#{name.lower()}":
        yield f"runbook_url is not docs/runbook.md#{name.lower()}"
    if name.lower() not in anchors(page):
        yield f"docs/runbook.md has no section {name}"


def metrics(test):
    return {re.match(r"[\w:]+", series["series"])[0] for series in test.get("input_series", [])}


def tested(alert, tests):
    """What is wrong with an alert's tests."""
    name = alert["alert"]
    mine = {kind: [test for test in tests if re.match(rf"{name}: {kind}\b", test.get("name", ""))] for kind in KINDS}
    for kind, found in mine.items():
        if not found:
            yield f'no test "{name}: {kind}"'
    for kind, found in mine.items():
        for test in found:
            looks = [look for look in test.get("alert_rule_test", []) if look["alertname"] == name]
            fires = [bool(look.get("exp_alerts")) for look in looks]
            if kind == "firing" and not any(fires):
                yield f'"{test["name"]}" expects no alert'
            if kind != "firing" and (any(fires) or not looks):
                yield f'"{test["name"]}" does not expect that it is silent'
            if kind == "restart" and not any(re.search(r"_|stale", one["values"]) for one in test["input_series"]):
                yield f'"{test["name"]}" interrupts no series'
            if kind != "firing" and mine["firing"] and (missing := metrics(mine["firing"][0]) - metrics(test)):
                yield f'"{test["name"]}" is silent for want of {", ".join(sorted(missing))}'
    if alert.get("for") and mine["firing"] and not any(
        not look.get("exp_alerts") and look["alertname"] == name for look in mine["firing"][0]["alert_rule_test"]
    ):
        yield f'"{mine["firing"][0]["name"]}" does not look before the {alert["for"]} of `for` are over'


def unreal(test):
    """What the program would never send: a reason has no series before it happens, not even one that is 0."""
    for one in test.get("input_series", []):
        if re.search(r'\breason="[^"]', one["series"]) and re.match(r"(_x\d+ )?0x", one["values"]):
            yield f'"{test.get("name")}" begins with 0 for {one["series"]}'


def waits():
    """What the program can wait for, by its source: what is given to `until_available`, `wait` and `waits`, as a text or
    as a constant of that file or of one beside it. Every place where one is found, as (what, file)."""
    sources = {
        file: file.read_text().split("#[cfg(test)]")[0]
        for file in sorted((ROOT / "src").rglob("*.rs"))
        if "tests" not in file.parts and not file.stem.endswith("tests")
    }
    for file, text in sources.items():
        beside = "".join(other for path, other in sources.items() if path.parent == file.parent)
        for what in re.findall(r"\b(?:until_available|waits?)\(\s*(\"[^\"]*\"|[A-Z_]{2,}\b)", text):
            named = [found for part in (text, beside) for found in re.findall(rf'const {what}: &str = "(.*?)";', part)]
            yield what.strip('"') if what.startswith('"') else next(iter(named), what), file.relative_to(ROOT)


def table_of_waits(page):
    """What is wrong with the runbook's table: | what, what | where to look |"""
    rows = re.findall(r"^\| (.*?) \|", page.partition("| what | where to look |")[2].partition("\n\n")[0], re.MULTILINE)
    told, found = {what for row in rows for what in row.split(", ")}, dict(waits())
    for what in sorted(found.keys() - told):
        yield f"docs/runbook.md: the table of waits lacks {what} ({found[what]})"
    for what in sorted(told - found.keys()):
        yield f"docs/runbook.md: nothing in src waits for {what}"


def check():
    """Prints what is wrong. Returns whether all is well."""
    groups, page = queries.load_yaml(queries.RULES)["groups"], RUNBOOK.read_text() if RUNBOOK.exists() else ""
    tests, faults = [], []
    for file in TESTS:
        content = queries.load_yaml(file)
        tests += content["tests"]
        if content["rule_files"] != ["../facemill/rules/facemill.rules.yaml"]:
            faults.append(f"{file.name}: rule_files names another file than the chart's")
        if content.get("group_eval_order") != [group["name"] for group in groups]:
            faults.append(f"{file.name}: group_eval_order is not the order of the groups")
    names = [alert["alert"] for alert in alerts(groups)]
    for alert in alerts(groups):
        faults += [f"{alert['alert']}: {fault}" for fault in (*texts(alert, page), *tested(alert, tests))]
    faults += [f"{name}: there are two" for name in sorted(set(names)) if names.count(name) > 1]
    for heading in re.findall(r"^#+ (Facemill\w+)$", page, re.MULTILINE):
        if heading not in names:
            faults.append(f"docs/runbook.md: there is no alert {heading}")
    faults += table_of_waits(page)
    for test in tests:
        if not any(re.match(rf"{name}: ({'|'.join(KINDS)})\b", test.get("name", "")) for name in names):
            faults.append(f'"{test.get("name")}" is not named after an alert and a kind')
        faults += unreal(test)
    print(*(f"check-rules: {fault}" for fault in faults), sep="\n", end="\n" if faults else "")
    print(f"{len(names)} alerts, {len(tests)} tests: {len(faults)} faults")
    return not faults


OPPOSITE = {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}


def mutants(alert):
    """(what was changed, the changed alert), each with one change."""

    def changed(what, **values):
        return what, copy.deepcopy(alert) | values

    expr = " ".join(alert["expr"].split())
    # Comparisons stand between blanks, matchers do not.
    for found in re.finditer(r" (>=|<=|==|!=|>|<) ", expr):
        start, end = found.span(1)
        around = expr[max(0, start - 30) : end + 15]
        opposite = OPPOSITE[found[1]]
        yield changed(f"{found[1]} → {opposite} in …{around}…", expr=expr[:start] + opposite + expr[end:])
        number = re.match(r"-?[\d.]+(?![\w.])", expr[end + 1 :])
        if number and float(number[0]):
            start, end = end + 1, end + 1 + number.end()
            for factor in (3, 1 / 3):
                value = f"{float(number[0]) * factor:g}"
                yield changed(f"{number[0]} → {value} in …{around}…", expr=expr[:start] + value + expr[end:])
    if alert.get("for"):
        yield changed(f"no for: {alert['for']}", **{"for": "0s"})


def fails(promtool, groups, alert, tests):
    """Whether a test of the alert fails when the alert is this."""
    kept = [{"name": group["name"], "rules": [rule for rule in group["rules"] if "record" in rule]} for group in groups]
    kept = [group for group in kept if group["rules"]] + [{"name": "mutant", "rules": [alert]}]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rules.yaml").write_text(json.dumps({"groups": kept}))
        content = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}
        content["group_eval_order"] = [group["name"] for group in kept]
        Path(folder, "tests.yaml").write_text(json.dumps(content))
        done = subprocess.run([promtool, "test", "rules", f"{folder}/tests.yaml"], capture_output=True, text=True)
        return done.returncode != 0


def mutate(promtool):
    """Prints each mutant that no test notices. Returns whether all are noticed."""
    groups = queries.load_yaml(queries.RULES)["groups"]
    tests = [test for file in TESTS for test in queries.load_yaml(file)["tests"]]
    count, survivors = 0, []
    for alert in alerts(groups):
        mine = [test for test in tests if test["name"].startswith(f"{alert['alert']}:")]
        for test in mine:
            test["alert_rule_test"] = [one for one in test["alert_rule_test"] if one["alertname"] == alert["alert"]]
        if fails(promtool, groups, alert, mine):
            sys.exit(f"check-rules: the tests of {alert['alert']} fail as it is")
        caught = 0
        for what, mutant in mutants(alert):
            count += 1
            if fails(promtool, groups, mutant, mine):
                caught += 1
            else:
                survivors.append(f"{alert['alert']}: no test notices {what}")
        print(f"{alert['alert']}: {caught} mutants noticed", flush=True)
    for survivor in survivors:
        print(survivor)
    print(f"{count} mutants: {len(survivors)} not noticed")
    return not survivors


def main():
    if sys.argv[1:2] == ["--mutate"] and len(sys.argv) == 3:
        sys.exit(not mutate(sys.argv[2]))
    if sys.argv[1:]:
        sys.exit(__doc__)
    sys.exit(not check())


if __name__ == "__main__":
    main()
