"""A plugin of pytest: tells what came of the cells of docs/compatibility.md.

`@pytest.mark.client("column")`, on a test, a module or a parameter, says which client is at work, and
`@pytest.mark.feature("feature", …)` what of it is shown; `@pytest.mark.also("column", "feature", …)` names cells of other columns.
"""

import json
import os

import pytest

# A file for the results; without it nothing is written.
VARIABLE = "IRONBROOK_RESULTS"


def pytest_configure(config):
    config.addinivalue_line("markers", "client(column): the column of docs/compatibility.md that a test belongs to")
    config.addinivalue_line("markers", "feature(names): the rows of docs/compatibility.md that it covers")
    config.addinivalue_line("markers", "also(column, names): cells of another column that it covers")


def cells(item):
    """The cells a test covers."""
    client = item.get_closest_marker("client")
    found = [(client.args[0], name) for mark in item.iter_markers("feature") for name in mark.args] if client else []
    return found + [(mark.args[0], name) for mark in item.iter_markers("also") for name in mark.args[1:]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    path = os.environ.get(VARIABLE)
    # A test that failed before or after its call failed; one that passed is counted once.
    if path and not (report.when != "call" and report.passed) and not (report.skipped and not hasattr(report, "wasxfail")):
        why = getattr(report, "wasxfail", "") or f"{item.name} failed"
        outcome = "passed" if report.passed else "failed"
        with open(path, "a") as results:
            for column, feature in cells(item):
                results.write(json.dumps({"column": column, "feature": feature, "outcome": outcome, "why": why}) + "\n")
    return report
