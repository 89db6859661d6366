"""`ironbrook sql` on files and standard input, without a hub."""

import json

import pytest

import command

QUERY = """SELECT k, COUNT(*) AS n INTO o FROM i TIMESTAMP BY t GROUP BY k, TumblingWindow(second, 10)
SELECT i.k, l.name INTO names FROM i TIMESTAMP BY t JOIN limits l ON l.k = i.k"""
EVENTS = [{"k": 1, "t": "2026-01-01T00:00:01Z"}, {"k": 1, "t": "2026-01-01T00:00:02Z"}, {"k": 2, "t": "2026-01-01T00:00:12Z"}]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "q.sql").write_text(QUERY)
    (tmp_path / "lines.json").write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    (tmp_path / "whole.json").write_text(json.dumps(EVENTS, indent=1))
    (tmp_path / "limits.json").write_text(json.dumps([{"k": 2, "name": "two"}]))
    return tmp_path


@pytest.mark.parametrize("events", ["lines.json", "whole.json"])
def test_rows_of_files(files, events):
    arguments = ["--input", f"i={files / events}", "--reference", f"limits={files / 'limits.json'}", files / "q.sql"]
    out, err = command.run("sql", "run", *arguments)
    assert sorted(out.splitlines()) == ['names\t{"k":2,"name":"two"}', 'o\t{"k":1,"n":2}', 'o\t{"k":2,"n":1}']
    assert err.splitlines()[0] == "3 events, 3 rows"
    out, _ = command.run("sql", "run", "--output", "json", *arguments)
    rows = [json.loads(line) for line in out.splitlines()]
    assert {"output": "o", "timestamp": "2026-01-01T00:00:10.0000000Z", "row": {"k": 1, "n": 2}} in rows


def test_a_query_is_checked_and_explained(files):
    out, _ = command.run("sql", "explain", "--reference", "limits", files / "q.sql")
    assert "tumbling 10 s" in out and "lookup in limits" in out
    (files / "bad.sql").write_text("SELECT a FRMO i")
    _, err = command.run("sql", "validate", files / "bad.sql", status=command.FAILED)
    assert "did you mean FROM?" in err and "\n                ^\n" in err


def test_cases_pass_or_show_what_differs(files):
    case = {"query": "SELECT k FROM i", "inputs": {"i": [{"event": {"k": 1}}]}, "expected": {"output": [{"k": 1}]}}
    (files / "cases" / "more").mkdir(parents=True)
    (files / "cases" / "good.json").write_text(json.dumps(case))
    out, _ = command.run("sql", "test", files / "cases")
    assert out.splitlines()[-1] == "1 passed, 0 failed"
    (files / "cases" / "more" / "bad.json").write_text(json.dumps({**case, "expected": {"output": [{"k": 2}]}}))
    out, err = command.run("sql", "test", files / "cases", status=command.FAILED)
    assert '- {"k":2}' in out and '+ {"k":1}' in out and not err
    assert out.splitlines()[-1] == "1 passed, 1 failed"
