"""The commands beside `dev`, against a hub that runs: what they print, write and return."""

import json
import re
import struct
import tomllib
import xml.etree.ElementTree as ElementTree

import pytest
import requests
from azure.storage.blob import ContainerClient

import command
from ironbrook import eventually

CONTAINER = "telemetry-json"
READINGS = 20


@pytest.fixture(scope="module")
def at(dev):
    """The option by which a command finds the hub."""
    return ["--data-dir", dev["data_dir"]]


@pytest.fixture(scope="module")
def container(dev):
    with ContainerClient.from_connection_string(dev["blob_connection_string"], CONTAINER) as client:
        yield client


@pytest.fixture(scope="module")
def telemetry(at, container):
    """The hub after a simulated sensor has sent its readings: {name of blob: content}, all of them."""
    command.run("device", "thermistor", *at, "--count", READINGS, "--interval", "50ms", "--celsius", "30", "--swing", "0")

    def stored():
        blobs = {blob.name: container.download_blob(blob.name).readall() for blob in container.list_blobs()}
        return blobs if sum(body.count(b"\n") for body in blobs.values()) >= READINGS else None

    return eventually(stored, what="all readings in blobs")


def monitor(at, *arguments):
    out, _ = command.run("messages", "monitor", *at, "--output", "json", *arguments)
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def messages(telemetry, at):
    """All messages, as `messages monitor` prints them."""
    return monitor(at, "--from", "earliest", "--count", READINGS)


def test_monitor_prints_all_from_the_earliest_in_order(messages):
    assert len(messages) == READINGS
    assert {message["device"] for message in messages} == {"thermistor-1"}
    assert [message["body"]["sequence"] for message in messages] == list(range(1, READINGS + 1))
    sequence = [message["sequence_number"] for message in messages]
    assert sequence == list(range(sequence[0], sequence[0] + READINGS))
    assert all(28 < message["body"]["temperature"] < 32 for message in messages)
    assert messages[0]["system_properties"]["contentType"] == "application/json"


def test_monitor_begins_at_a_time_and_knows_devices(messages, at):
    fifth = messages[4]
    later = monitor(at, "--from", fifth["enqueued_time"], "--count", 3, "--device-id", "thermistor-1")
    enqueued = [message["enqueued_time"] for message in messages]
    first = next(n for n, time in enumerate(enqueued) if time > fifth["enqueued_time"])
    assert later == messages[first : first + 3]


def test_monitor_prints_a_table_for_people(telemetry, at):
    out, _ = command.run("messages", "monitor", *at, "--from", "earliest", "--count", 2)
    head, *rows = out.splitlines()
    assert head.split() == ["ENQUEUED", "(UTC)", "DEVICE", "PART", "SEQUENCE", "BODY"]
    assert len(rows) == 2 and all(re.search(r" thermistor-1 .*\{\"temperature\":", row) for row in rows)


def test_wrong_use_of_monitor_is_told(at, tmp_path):
    _, err = command.run("messages", "monitor", *at, "--from", "yesterday", status=command.USAGE)
    assert "latest, earliest" in err
    _, err = command.run("messages", "monitor", "--data-dir", tmp_path, status=command.FAILED)
    assert "start `ironbrook dev`" in err


def test_blobs_are_listed_with_their_sizes(telemetry, at):
    out, _ = command.run("blobs", "list", *at, "--output", "json")
    listed = {blob["name"]: blob["size"] for blob in map(json.loads, out.splitlines())}
    assert listed == {name: len(body) for name, body in telemetry.items()}
    assert all(re.fullmatch(r"ironbrook/\d\d/\d{4}/\d\d/\d\d/\d\d/\d\d.*\.json", name) for name in listed)
    out, _ = command.run("blobs", "list", *at)
    assert all(f"{size:>12}  " in out and name in out for name, size in listed.items())
    _, err = command.run("blobs", "list", *at, "--container", "nowhere", status=command.FAILED)
    assert "nowhere" in err


def test_a_second_pull_fetches_nothing(telemetry, at, tmp_path):
    def pull():
        out, _ = command.run("blobs", "pull", *at, tmp_path / "blobs", "--output", "json")
        done = json.loads(out)
        return done["downloaded"], done["unchanged"], done["bytes"]

    count, size = len(telemetry), sum(map(len, telemetry.values()))
    assert pull() == (count, 0, size)
    here = {name: (tmp_path / "blobs" / name) for name in telemetry}
    assert {name: path.read_bytes() for name, path in here.items()} == telemetry
    before = {name: path.stat().st_mtime_ns for name, path in here.items()}
    assert pull() == (0, count, 0)
    assert {name: path.stat().st_mtime_ns for name, path in here.items()} == before


@pytest.fixture(scope="module")
def pulled(telemetry, at, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulled")
    command.run("blobs", "pull", *at, folder)
    return folder


@pytest.fixture(params=["events", "container", "folder"])
def source(request, telemetry, at, pulled):
    """Options for each place that a plot can take its data from; a folder needs no hub."""
    return {"events": at, "container": [*at, "--container"], "folder": ["--from-blobs", pulled]}[request.param]


def plot(source, path, *arguments):
    out, _ = command.run("plot", *source, "--out", path, "--size", "800x600", "--output", "json", *arguments)
    done = json.loads(out)
    assert (done["points"], done["devices"]) == (READINGS, ["thermistor-1"])


def test_plot_draws_a_png(source, tmp_path):
    plot(source, tmp_path / "t.png")
    picture = (tmp_path / "t.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">4sII", picture[12:24]) == (b"IHDR", 800, 600)
    assert picture.endswith(b"IEND\xaeB`\x82")


def test_plot_draws_an_svg(source, tmp_path):
    plot(source, tmp_path / "t.svg", "--title", "Hall <3>")
    root = ElementTree.parse(tmp_path / "t.svg").getroot()
    assert (root.get("width"), root.get("height")) == ("800", "600")
    texts = {(element.text or "").strip() for element in root.findall(".//{*}text")}
    assert {"temperature (°C)", "thermistor-1", "Hall <3>"} <= texts
    # The lines of data are two pixels wide; a reading between two gaps is a dot.
    lines = [line for line in root.findall(".//{*}polyline") if line.get("stroke-width") == "2"]
    dots = len(root.findall(".//{*}circle"))
    assert lines and sum(len(line.get("points").split()) for line in lines) + dots == READINGS


def test_plot_says_why_there_is_no_picture(telemetry, at, tmp_path):
    _, err = command.run("plot", *at, "--device", "nobody", "--out", tmp_path / "t.png", status=command.FAILED)
    assert "no message with a temperature" in err
    _, err = command.run("plot", *at, "--out", tmp_path / "t.gif", status=command.FAILED)
    assert ".png" in err and ".svg" in err
    assert not list(tmp_path.iterdir())


def test_a_device_that_the_hub_does_not_have_is_told(at):
    _, err = command.run("device", "thermistor", *at, "--device", "nobody", status=command.FAILED)
    assert "nobody" in err and "thermistor-1" in err


def test_printed_configuration_is_one_that_is_good(tmp_path):
    out, _ = command.run("config", "print", cwd=tmp_path, IRONBROOK__HUB__PARTITIONS="2")
    config = tomllib.loads(out)
    assert config["hub"]["partitions"] == 2
    assert config["listen"]["mqtt"] == "127.0.0.1:8883"
    (tmp_path / "ironbrook.toml").write_text(out)
    assert command.run("config", "print", cwd=tmp_path)[0] == out
    assert "good" in command.run("config", "check", cwd=tmp_path)[0]


def test_a_wrong_configuration_is_told_with_line_and_column(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text("[hub]\nname = 'h'\nnaem = 'x'\n")
    for arguments in (["config", "check"], ["config", "print"], ["dev", "--data-dir", tmp_path / "data"]):
        _, err = command.run(*arguments, "--config", path, status=command.USAGE)
        assert f"{path}: line 3, column 1" in err and "naem" in err
    _, err = command.run("config", "check", "--config", tmp_path / "nowhere.toml", status=command.USAGE)
    assert "nowhere.toml" in err
    _, err = command.run("config", "check", status=command.USAGE, cwd=tmp_path, IRONBROOK__HUB__NAEM="x")
    assert "IRONBROOK__HUB__NAEM" in err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("base", ["http://localhost:8080", "https://localhost:8080", "https://localhost"])
def test_health_and_metrics_answer(telemetry, dev, base):
    def get(path):
        answer = requests.get(base + path, verify=dev["ca_file"], timeout=20)
        assert answer.status_code == 200
        return answer

    assert get("/healthz").text == "ok\n"
    assert get("/readyz").text == "ready\n"
    metrics = get("/metrics")
    assert metrics.headers["content-type"].startswith("application/openmetrics-text")
    values = dict(line.rsplit(" ", 1) for line in metrics.text.splitlines() if not line.startswith("#"))
    assert int(values["d2c_telemetry_ingress_success_total"]) == READINGS
    assert metrics.text.endswith("# EOF\n")
