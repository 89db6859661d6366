"""Writes docs/compatibility.md from what the tests of one step showed: compatibility.py STEP RESULTS.

RESULTS is a file of lines of JSON, `{"column", "feature", "outcome", "why"}`, with an outcome of "passed" or "failed". The part
of the document that belongs to the step is written anew, and the part that is filled by hand; where that changes it, the program
fails: what is committed is what was seen.
"""

import json
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).parents[2]
DEFINITION = ROOT / "tests/clients/compatibility.toml"
DOCUMENT = ROOT / "docs/compatibility.md"
STEPS = {"python": "Python", "node": "Node.js", "hand": "By hand"}


class Wrong(Exception):
    """What has to be mended before the document can be written."""


def versions():
    """The packages that the tests install, from their lock files: {name: version}."""
    found = {}
    for line in (ROOT / "tests/clients/python/requirements.txt").read_text().splitlines():
        if pinned := re.match(r"([\w.-]+)==([\w.]+)", line):
            found[pinned[1]] = pinned[2]
    lock = json.loads((ROOT / "tests/clients/node/package-lock.json").read_text())
    for path, entry in lock["packages"].items():
        if path.startswith("node_modules/") and "/node_modules/" not in path:
            found.setdefault(path.removeprefix("node_modules/"), entry["version"])
    return found


def read(path):
    """What came of the cells: {(column, feature): reasons of failures}; no reason where all tests of a cell passed."""
    cells = {}
    for line in pathlib.Path(path).read_text().splitlines():
        result = json.loads(line)
        why = cells.setdefault((result["column"], result["feature"]), [])
        if result["outcome"] != "passed":
            why.append(result["why"])
    return cells


class Notes:
    """Reasons under a table, each once."""

    def __init__(self):
        self.texts = []

    def mark(self, text):
        if text not in self.texts:
            self.texts.append(text)
        return f"[{self.texts.index(text) + 1}]"


def cell(column, feature, results, notes):
    """The text of a cell. An untried cell is an error."""
    lacks, fails = column.get("lacks", {}), column.get("fails", {})
    where = f"{column['id']}, {feature}"
    tried = results.get((column["id"], feature))
    if column["step"] == "hand" and feature in column.get("passes", []):
        tried = []
    if tried is not None:
        if feature in lacks or feature in fails:
            raise Wrong(f"{where}: a test covers it, so it can be neither in `lacks` nor in `fails`")
        return "pass" if not tried else f"**fails** {notes.mark(tried[0])}"
    if feature in fails:
        return f"**fails** {notes.mark(fails[feature])}"
    reason = lacks.get(feature) or column.get("lacks_all")
    if not reason:
        raise Wrong(f"{where}: no test covers it, and nothing says why")
    return f"client lacks it {notes.mark(reason)}"


def head(column, known):
    """Client, version and protocol."""
    packages = [column["package"], *column.get("also", [])]
    named = [f"{name} {column.get('version') or known[name]}" for name in packages]
    return f"{' with '.join(named)}, {column['protocol']}"


def table(of, columns, results, known):
    """One table with its notes."""
    notes = Notes()
    lines = [f"### {of['title']}", ""]
    lines += [f"| | {' | '.join(head(column, known) for column in columns)} |", "| --- |" + " --- |" * len(columns)]
    for feature, title in of["features"]:
        cells = [cell(column, feature, results, notes) for column in columns]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [""] + [f"{index}. {text}" for index, text in enumerate(notes.texts, 1)]
    lines += [""] + [column["how"].strip() + "\n" for column in columns if "how" in column]
    return "\n".join(lines).strip() + "\n"


def part(step, definition, results, known):
    """What belongs to a step, between its marks."""
    tables = []
    for of in definition["table"]:
        columns = [column for column in definition["column"] if (column["step"], column["table"]) == (step, of["id"])]
        if columns:
            tables.append(table(of, columns, results, known))
    return "\n".join([begin(step), "", f"## {STEPS[step]}", "", *tables, end(step)])


def begin(step):
    return f"<!-- {step}: written by the test run -->"


def end(step):
    return f"<!-- end of {step} -->"


def check(definition, results, step):
    """Names that no row or column has are spelling mistakes of a test."""
    features = {of["id"]: {feature for feature, _ in of["features"]} for of in definition["table"]}
    columns = {column["id"]: column for column in definition["column"]}
    for column, feature in results:
        if column not in columns or feature not in features[columns[column]["table"]]:
            raise Wrong(f"a test names {column}, {feature}, which is no cell of {DEFINITION.name}")
        if columns[column]["step"] != step:
            raise Wrong(f"a test of {step} names {column}, which is a column of {columns[column]['step']}")


def replace(text, step, new):
    """The document with one part written anew."""
    before, mark, rest = text.partition(begin(step))
    old, closing, after = rest.partition(end(step))
    if not mark or not closing:
        raise Wrong(f"{DOCUMENT.name} has lost the marks of {step}")
    return before + new + after


def main():
    step, path = sys.argv[1:]
    definition, known = tomllib.loads(DEFINITION.read_text()), versions()
    results = read(path)
    check(definition, results, step)
    before = DOCUMENT.read_text()
    after = replace(before, step, part(step, definition, results, known))
    after = replace(after, "hand", part("hand", definition, {}, known))
    if after == before:
        return 0
    DOCUMENT.write_text(after)
    print(f"{DOCUMENT.relative_to(ROOT)} was not what the tests showed; it is now: look at the difference and commit it")
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as wrong:
        sys.exit(f"{DEFINITION.relative_to(ROOT)}: {wrong}")
