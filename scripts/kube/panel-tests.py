#!/usr/bin/env python3
"""Tests what panels of the dashboard say: panel-tests.py PROMTOOL

helm/rules-tests/dashboard/panels.yaml has for each test a panel, a letter of its queries (A), series, a time, and what the
query must answer: a number, or one for each set of labels. The queries are those of the dashboard as it is shipped.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import queries

TESTS = queries.RULES.parents[2] / "rules-tests/dashboard/panels.yaml"


def unit_test(test, panels):
    """The same as a unit test of promtool."""
    key = test["panel"], test.get("query", "A")
    if key not in panels:
        sys.exit(f"panel-tests: {test['name']}: the dashboard has no panel {key[0]} with a query {key[1]}")
    choice = {"namespace": ".*", "release": ".*"} | test.get("choice", {})
    values = {"__rate_interval": "5m", "__range": "1h"} | choice
    expr = re.sub(r"\$(\w+)", lambda found: values[found[1]], panels[key])
    expected = test["expect"] if isinstance(test["expect"], dict) else {"{}": test["expect"]}
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    return {
        "name": f"{test['panel']}: {test['name']}",
        "interval": "1m",
        "input_series": test["input_series"],
        "promql_expr_test": [{"expr": expr, "eval_time": test["at"], "exp_samples": samples}],
    }


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    panels = {(title, letter): expr for title, letter, expr in queries.panel_queries()}
    tests = queries.load_yaml(TESTS)["tests"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "panels.json")
        file.write_text(json.dumps({"evaluation_interval": "1m", "tests": [unit_test(test, panels) for test in tests]}))
        code = subprocess.run([sys.argv[1], "test", "rules", file]).returncode
    print(f"{len(tests)} tests of panels: {'a fault' if code else '0 faults'}")
    sys.exit(code)


if __name__ == "__main__":
    main()
