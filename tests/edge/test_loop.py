"""The tutorial, from an empty folder to the reset that the alert brings about."""

import json
import statistics
from datetime import datetime, timedelta

import pytest

import command
import edge
import events
import processes
from conftest import EDGE, Site
from edge import AGENT, SENSOR_IMAGE, SQL_IMAGE, section
from ironbrook import Dev, eventually, trust

SENSOR, JOB = "SimulatedTemperatureSensor", "edgeAlertJob"
COLDEST, THRESHOLD = 21, 70
# A step from the coldest is between -0.25 and 1.25 degrees.
AFTER_RESET = (COLDEST - 0.25, COLDEST + 1.25)
FAST = "00:00:00.2"


@pytest.fixture
def fresh(tmp_path):
    """`dev` on an empty folder, as a user starts it."""
    hub = Dev(tmp_path, "--no-thermistor")
    try:
        trust(hub.start())
        yield Site(hub, hub, edge.Device(hub.ready, EDGE))
        hub.stop()
    finally:
        if hub.process.poll() is None:
            hub.kill()


def query(window):
    return (
        "SELECT 'reset' AS command INTO alert FROM temperature TIMESTAMP BY timeCreated "
        f"GROUP BY TumblingWindow(second, {window}) HAVING AVG(machine.temperature) > {THRESHOLD}"
    )


def set_modules(site, document, folder):
    """As a user does, with a file."""
    path = folder / "deployment.json"
    path.write_text(json.dumps(document, indent=2))
    command.run("edge", "set-modules", "--device", EDGE, "--data-dir", site.data_dir, path)


@pytest.mark.timeout(900)
def test_the_alert_comes_back_as_a_reset(fresh, tmp_path, slow):
    site, window = fresh, 30 if slow else 3
    before = site.device.running()
    assert set(before) == {"edgeAgent", "edgeHub", SENSOR, JOB}
    listed = edge.listed(site.data_dir)
    assert {name: row[0] for name, row in listed.items()} == dict.fromkeys(before, "running")
    assert all(row[1].startswith("Up ") for row in listed.values()), listed
    assert (listed[SENSOR][2], listed[JOB][2]) == (SENSOR_IMAGE, SQL_IMAGE)
    assert {name: row[2] for name, row in listed.items()} == {
        name: entry["settings"]["image"] for name, entry in before.items()
    }
    ran = processes.modules(site.data_dir)

    document = site.device.deployed()
    section(document, AGENT)["modules"][SENSOR]["env"]["MessageDelay"] = {"value": FAST}
    # The interval in the twin would win over the variable.
    section(document, SENSOR).pop("SendInterval")
    section(document, JOB)["query"] = query(window)
    set_modules(site, document, tmp_path)
    after = site.device.running()
    only_the_sensor_restarted(before, after, ran, processes.modules(site.data_dir))

    def enough(got):
        return len(falls(temperatures(got))) >= 2 and len(alerts(got)) >= 2

    got = events.read(site.ready, enough, timeout=90 + 8 * window)
    assert enough(got), "the machine was not reset twice"
    each_alert_was_due_and_each_reset_followed(got, window)


def only_the_sensor_restarted(before, after, ran, runs):
    assert runs[JOB] == ran[JOB] and runs[SENSOR].isdisjoint(ran[SENSOR])
    for name in ("edgeAgent", "edgeHub", JOB):
        same = ("lastStartTimeUtc", "lastExitTimeUtc", "restartCount", "lastRestartTimeUtc")
        assert [after[name].get(key) for key in same] == [before[name].get(key) for key in same], name
    assert after[SENSOR]["lastStartTimeUtc"] > before[SENSOR]["lastStartTimeUtc"]
    # A restart that a deployment asks for is no restart after a failure.
    assert after[SENSOR]["restartCount"] == 0


def temperatures(got):
    """[(time, temperature)] of the sensor's present run, in order."""
    sent = edge.of_module(got, EDGE, SENSOR)
    runs = [event.properties[b"batchId"] for event in sent]
    bodies = [event.body_as_json() for event, run in zip(sent, runs) if run == runs[-1]]
    return [(time(body["timeCreated"]), body["machine"]["temperature"]) for body in bodies]


def time(text):
    # Seven digits are one more than Python reads.
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(whole) + timedelta(seconds=float(f"0.{fraction or 0}"))


def alerts(got):
    return edge.of_module(got, EDGE, JOB)


def falls(values):
    """Where the temperature falls by more than it can by itself."""
    return [index for index in range(1, len(values)) if values[index - 1][1] - values[index][1] > 10]


def each_alert_was_due_and_each_reset_followed(got, window):
    values = temperatures(got)
    assert AFTER_RESET[0] <= values[0][1] <= AFTER_RESET[1]
    climbs = [0, *falls(values)]
    for begin, end in zip(climbs, climbs[1:]):
        climb = [value for _, value in values[begin:end]]
        assert AFTER_RESET[0] <= climb[0] <= AFTER_RESET[1], "a climb begins at the bottom"
        assert climb[-1] > THRESHOLD and max(climb) == pytest.approx(climb[-1], abs=5)
        assert values[end - 1][0] < values[end][0]

    sent = alerts(got)
    for event in sent:
        assert event.body_as_json() == [{"command": "reset"}]
        assert event.content_type == "application/json"

    # The same windows, worked out here: (begin, end], from the epoch.
    windows = {}
    for at, value in values:
        passed = (at - datetime(1970, 1, 1)).total_seconds()
        windows.setdefault(-int(-passed // window), []).append(value)
    *closed, _open = sorted(windows)
    due = [number for number in closed if statistics.fmean(windows[number]) > THRESHOLD]
    # The newest alert may be on its way.
    assert len(due) - 1 <= len(sent) <= len(due), (len(sent), len(due))
    # One alert for each climb, and the reset comes within a window of its own.
    for number, fall in zip(due, climbs[1:]):
        reset = (values[fall][0] - datetime(1970, 1, 1)).total_seconds()
        assert 0 < reset - number * window < window + 5, "the reset came late"


def test_a_job_is_published_and_its_package_runs(site, tmp_path):
    """`sql publish` stores it, and the twin it prints is the module's."""
    path = tmp_path / "count.sql"
    path.write_text(
        "SELECT r.range, COUNT(*) AS readings INTO counted FROM temperature t TIMESTAMP BY t.timeCreated "
        "JOIN ranges r ON t.machine.temperature > r.least GROUP BY r.range, TumblingWindow(second, 1)"
    )
    ranges = tmp_path / "ranges.json"
    ranges.write_text(json.dumps([{"range": "all", "least": 0}, {"range": "none", "least": 1000}]))
    options = ["--data-dir", site.data_dir, "--name", JOB, "--reference", f"ranges={ranges}"]
    out, _ = command.run("sql", "publish", *options, path)
    twin = json.loads(out)
    document = site.device.deployed()
    section(document, AGENT)["modules"][SENSOR]["env"]["MessageDelay"] = {"value": FAST}
    section(document, SENSOR).pop("SendInterval", None)
    document["modulesContent"] |= twin
    set_modules(site, document, tmp_path)
    site.device.running()
    etag = section(document, JOB)["ASAJobEtag"]
    eventually(lambda: site.device.reported(JOB).get("ASAJobEtag") == etag, what="the package runs")
    got = events.read(site.ready, lambda got: len(alerts(got)) >= 2)
    counted = [event.body_as_json() for event in alerts(got)]
    assert len(counted) >= 2 and all(1 <= row[0]["readings"] <= 6 for row in counted), counted
    assert all(row[0]["range"] == "all" for row in counted), "looked up in the file"
