"""`ironbrook sql` on files of every format, written and read by others' libraries, and on jobs brought along from Azure."""

import csv
import gzip
import io
import json
import os
import subprocess
import zlib

import fastavro
import pyarrow.parquet
import pytest

import command

EVENTS = [{"k": number % 3, "v": number / 4, "t": f"2026-01-01T00:00:{number:02}Z"} for number in range(30)]
QUERY = "SELECT k, COUNT(*) AS n, AVG(CAST(v AS float)) AS mean INTO o FROM i TIMESTAMP BY t GROUP BY k, TumblingWindow(second, 60)"
SCHEMA = {
    "type": "record",
    "name": "E",
    "fields": [{"name": "k", "type": "long"}, {"name": "v", "type": "double"}, {"name": "t", "type": "string"}],
}


def separated(delimiter=",", header=True):
    out = io.StringIO()
    writer = csv.DictWriter(out, ["k", "v", "t"], delimiter=delimiter)
    if header:
        writer.writeheader()
    writer.writerows(EVENTS)
    return out.getvalue().encode()


def container(codec):
    out = io.BytesIO()
    fastavro.writer(out, SCHEMA, EVENTS, codec=codec, sync_interval=100)
    return out.getvalue()


LINES = "".join(json.dumps(event) + "\n" for event in EVENTS).encode()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "q.sql").write_text(QUERY)
    return tmp_path


def expected():
    rows = {}
    for event in EVENTS:
        # The event at 00:00:00 is the end of a window of its own.
        rows.setdefault((event["t"].endswith(":00Z"), event["k"]), []).append(event["v"])
    return sorted((k, len(values), sum(values) / len(values)) for (_, k), values in rows.items())


def rows_of(rows):
    return sorted((int(row["k"]), int(row["n"]), float(row["mean"])) for row in rows)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.jsonl", LINES),
        ("a.json", json.dumps(EVENTS, indent=1).encode()),
        ("a.ndjson.gz", gzip.compress(LINES)),
        ("a.json.deflate", zlib.compress(LINES)),
        ("a.csv", separated()),
        ("a.csv.gz", gzip.compress(separated())),
        ("a.tsv", separated("\t")),
        ("a.avro", container("null")),
        ("b.avro", container("deflate")),
        ("a.avro.gz", gzip.compress(container("null"))),
    ],
)
def test_events_are_read_in_every_format(files, name, content):
    (files / name).write_bytes(content)
    out, err = command.run("sql", "run", "--input", f"i={files / name}", files / "q.sql")
    assert rows_of(json.loads(line) for line in out.splitlines()) == expected()
    assert err.splitlines() == ["30 events, 4 rows"]


def test_rows_are_written_in_every_format_and_read_by_others(files):
    (files / "a.jsonl").write_bytes(LINES)

    def written(name):
        run = ["sql", "run", "--input", f"i={files / 'a.jsonl'}", "--to", f"O={files / name}", files / "q.sql"]
        out, _ = command.run(*run)
        assert out == ""
        return files / name

    def text(name):
        return written(name).read_text()

    assert rows_of(json.loads(text("r.json"))) == expected()
    assert rows_of(json.loads(line) for line in text("r.jsonl").splitlines()) == expected()
    assert rows_of(csv.DictReader(io.StringIO(text("r.csv")))) == expected()
    assert rows_of(csv.DictReader(io.StringIO(text("r.tsv")), delimiter="\t")) == expected()
    assert rows_of(json.loads(line) for line in gzip.open(written("r.jsonl.gz"), "rt")) == expected()
    with open(written("r.avro"), "rb") as file:
        assert rows_of(fastavro.reader(file)) == expected()
    assert rows_of(pyarrow.parquet.read_table(written("r.parquet")).to_pylist()) == expected()


def test_standard_input_and_output_take_formats_that_are_said(files):
    query = "SELECT column1 AS k, COUNT(*) AS n, AVG(CAST(column2 AS float)) AS mean INTO o FROM i TIMESTAMP BY column3"
    (files / "q.sql").write_text(f"{query} GROUP BY column1, TumblingWindow(second, 60)")
    said = ["--input-format", "csv.gz", "--delimiter", "i=;", "--no-header", "--output-format", "parquet"]
    done = subprocess.run(
        [os.environ["IRONBROOK_BIN"], "sql", "run", *said, str(files / "q.sql")],
        input=gzip.compress(separated(";", header=False)),
        capture_output=True,
        env=command.environment(),
        timeout=command.COMMAND_WITHIN,
    )
    assert done.returncode == 0, done.stderr
    assert rows_of(pyarrow.parquet.read_table(io.BytesIO(done.stdout)).to_pylist()) == expected()


def test_bad_events_are_counted_and_shown_with_their_line_or_stop_the_run(files):
    (files / "a.csv").write_bytes(b"k,v,t\n1,2,2026-01-01T00:00:01Z\n1,2\n1,\"2\"x,z\n1,4,2026-01-01T00:00:02Z\n")
    run = ["sql", "run", "--input", f"i={files / 'a.csv'}", files / "q.sql"]
    out, err = command.run(*run)
    assert [json.loads(line) for line in out.splitlines()] == [{"k": "1", "n": 2, "mean": 3.0}]
    assert err.splitlines()[:2] == ["4 events, 1 rows", "2 × InputDeserializerError.InvalidData"]
    assert f"{files / 'a.csv'}, line 3: 2 fields, the header has 3" in err and "a.csv, line 4: " in err
    _, err = command.run(*run, "--on-bad-event", "stop", status=command.FAILED)
    assert "a.csv, line 3: 2 fields" in err


def test_what_cannot_be_is_refused_with_the_cure(files):
    (files / "a.jsonl").write_bytes(LINES)
    source = ["--input", f"i={files / 'a.jsonl'}"]
    _, err = command.run("sql", "run", *source, "--to", files / "a.jsonl", files / "q.sql", status=command.FAILED)
    assert "is read too" in err and (files / "a.jsonl").read_bytes() == LINES
    _, err = command.run("sql", "run", "--input", "i=a.parquet", files / "q.sql", status=command.FAILED)
    assert "Parquet is written, not read" in err
    _, err = command.run("sql", "run", *source, "--to", "x=y.csv", files / "q.sql", status=command.FAILED)
    assert "the query writes o" in err


def test_reference_data_may_be_csv_or_avro(files):
    (files / "a.jsonl").write_bytes(LINES)
    (files / "q.sql").write_text("SELECT i.k, names.name INTO o FROM i TIMESTAMP BY t JOIN names ON names.k = i.k WHERE i.v < 0.7")
    (files / "names.csv").write_text("k|name\n0|zero\n1|one\n")
    names = {"type": "record", "name": "N", "fields": [{"name": "k", "type": "long"}, {"name": "name", "type": "string"}]}
    with open(files / "names.avro", "wb") as file:
        fastavro.writer(file, names, [{"k": 0, "name": "zero"}, {"k": 1, "name": "one"}])
    run = ["sql", "run", "--input", f"i={files / 'a.jsonl'}", files / "q.sql", "--reference"]
    out, _ = command.run(*run, f"names={files / 'names.avro'}")
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["zero", "one"]
    # A CSV field is a text, which is no number: the query says what it is to be.
    text = (files / "q.sql").read_text().replace("names.k =", "CAST(names.k AS bigint) =")
    (files / "q.sql").write_text(text)
    out, _ = command.run(*run, f"names={files / 'names.csv'}", "--delimiter", "names=|")
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["zero", "one"]


DOUBLE = "function main(x) { return 2 * x; }"
RESOURCE = {
    "name": "mine",
    "properties": {
        "eventsOutOfOrderMaxDelayInSeconds": 5,
        "eventsOutOfOrderPolicy": "Drop",
        "transformation": {"properties": {"query": "SELECT udf.double(CAST(v AS bigint)) AS w INTO o FROM i TIMESTAMP BY t"}},
        "inputs": [{"name": "i", "properties": {
            "type": "Stream",
            "datasource": {"type": "Microsoft.Devices/IotHubs", "properties": {"iotHubNamespace": "h"}},
            "serialization": {"type": "Csv", "properties": {"fieldDelimiter": ";", "encoding": "UTF8"}},
        }}],
        "outputs": [{"name": "o", "properties": {
            "datasource": {"type": "Microsoft.Storage/Blob", "properties": {"container": "c", "pathPattern": "x"}},
            "serialization": {"type": "Csv", "properties": {"fieldDelimiter": "|", "encoding": "UTF8"}},
        }}],
        "functions": [{"name": "double", "properties": {"type": "Scalar", "properties": {
            "binding": {"type": "Microsoft.StreamAnalytics/JavascriptUdf", "properties": {"script": DOUBLE}},
        }}}],
    },
}


def test_an_exported_job_brings_query_functions_formats_and_policies(files):
    (files / "job.json").write_text(json.dumps(RESOURCE))
    # The third event is within the tolerance, the last one is not and is dropped.
    times = ["01", "20", "16", "02"]
    (files / "a.dat").write_text("v;t\n" + "".join(f"{n};2026-01-01T00:00:{t}Z\n" for n, t in enumerate(times)))
    job = ["--job", files / "job.json"]
    out, err = command.run("sql", "run", *job, "--input", f"i={files / 'a.dat'}", "--to", files / "rows.out")
    assert out == "" and (files / "rows.out").read_text().split() == ["w", "0", "4", "2"]
    assert "1 × OutOfOrderEvent" in err
    (files / "triple.js").write_text("function main(x) { return 3 * x; }")
    own = ["--function", f"Double={files / 'triple.js'}"]
    out, _ = command.run("sql", "run", *job, *own, "--input", f"i={files / 'a.dat'}")
    assert [json.loads(line)["w"] for line in out.splitlines()] == [0, 6, 3]
    out, _ = command.run("sql", "validate", *job)
    assert "it reads i and writes o" in out
    assert "columns: w" in command.run("sql", "explain", *job)[0]
    (files / "job.json").write_text(json.dumps(RESOURCE).replace("INTO o FROM", "INTO o FRMO"))
    _, err = command.run("sql", "validate", *job, status=command.FAILED)
    assert "job.json, its query: " in err and "did you mean FROM?" in err and "\n  SELECT" in err


def test_a_project_of_visual_studio_code_runs_with_its_local_files(files):
    parts = [("JobConfig.json", "JobConfig"), ("Inputs\\i.json", "Input"), ("Inputs\\Local_i.json", "InputMock"), ("Functions\\double.js", "JavaScript")]
    root = {"name": "p", "startFile": "p.asaql", "configurations": [{"filePath": path, "subType": kind} for path, kind in parts]}
    (files / "Inputs").mkdir()
    (files / "Functions").mkdir()
    (files / "asaproj.json").write_text(json.dumps(root))
    (files / "p.asaql").write_text(RESOURCE["properties"]["transformation"]["properties"]["query"])
    (files / "JobConfig.json").write_text(json.dumps({"EventsOutOfOrderMaxDelayInSeconds": 0}))
    (files / "Inputs" / "i.json").write_text(json.dumps({"Name": "i", "Type": "Data Stream", "DataSourceType": "IoT Hub"}))
    local = {"InputAlias": "i", "Type": "Data Stream", "Format": "Csv", "FilePath": "data.csv"}
    (files / "Inputs" / "Local_i.json").write_text(json.dumps(local))
    (files / "Inputs" / "data.csv").write_text("v,t\n21,2026-01-01T00:00:01Z\n")
    (files / "Functions" / "double.js").write_text(DOUBLE)
    for path in [files, files / "asaproj.json"]:
        out, _ = command.run("sql", "run", "--job", path)
        assert [json.loads(line) for line in out.splitlines()] == [{"w": 42}]
    (files / "p.asaql").write_text("SELECT *\nFORM i")
    _, err = command.run("sql", "run", "--job", files, status=command.FAILED)
    assert f"{files / 'p.asaql'}: " in err and "line 2" in err and "^" in err


def test_cases_call_functions_that_stand_beside_them_or_are_given(files):
    case = {
        "query": "SELECT udf.double(v) AS w FROM i",
        "inputs": {"i": [{"event": {"v": 2}}]},
        "expected": {"output": [{"w": 4}]},
    }
    (files / "cases").mkdir()
    (files / "cases" / "double.json").write_text(json.dumps(case))
    out, _ = command.run("sql", "test", files / "cases", status=command.FAILED)
    assert "double" in out and out.splitlines()[-1] == "0 passed, 1 failed"
    (files / "double.js").write_text(DOUBLE)
    out, _ = command.run("sql", "test", "--function", f"double={files / 'double.js'}", files / "cases")
    assert out == "1 passed, 0 failed\n"
    (files / "cases" / "Functions").mkdir()
    (files / "cases" / "Functions" / "double.js").write_text(DOUBLE)
    (files / "cases" / "Functions" / "double.js.json").write_text("{}")
    assert command.run("sql", "test", files / "cases")[0] == "1 passed, 0 failed\n"
