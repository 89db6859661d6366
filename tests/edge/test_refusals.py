"""What cannot be carried out is refused with its code and reason, and what was there before goes on."""

import copy
import json

import pytest

import command
import edge
import events
import processes
from command import FAILED
from conftest import EDGE
from edge import AGENT, HUB, SENSOR_IMAGE, SQL_IMAGE, section
from ironbrook import eventually

SENSOR, JOB = "sensor", "job"
COUNT = (
    "SELECT COUNT(*) AS readings INTO counted FROM temperature TIMESTAMP BY timeCreated "
    "GROUP BY TumblingWindow(second, 1)"
)


@pytest.fixture(scope="module")
def good(site):
    """A deployment that runs and makes itself heard all the time: a count of readings each second."""
    modules = {
        SENSOR: edge.module(SENSOR_IMAGE, {"MessageCount": -1, "MessageDelay": "00:00:00.2"}),
        JOB: edge.module(SQL_IMAGE),
    }
    routes = {
        "toJob": f'FROM /messages/modules/{SENSOR}/* INTO BrokeredEndpoint("/modules/{JOB}/inputs/temperature")',
        "toCloud": f"FROM /messages/modules/{JOB}/* INTO $upstream",
    }
    return edge.manifest(modules, routes, {SENSOR: {"SendData": True}, JOB: {"query": COUNT}})


@pytest.fixture
def device(site, good):
    """The device with that deployment running, whatever the test before has done."""
    site.device.apply(good)
    site.device.running()
    return site.device


@pytest.fixture
def changed(good):
    """A copy to be made wrong."""
    return copy.deepcopy(good)


def goes_on(site, before):
    """The same processes, and what they say still comes to the hub."""
    assert processes.modules(site.data_dir) == before
    client = site.ready
    counted = lambda got: edge.of_module(got, EDGE, JOB)
    # New ones only.
    got = events.read(client, lambda got: len(counted(got)) >= 3, starting_position="@latest")
    assert len(counted(got)) >= 3


@pytest.mark.parametrize(
    "version, code",
    [("2.0", 412), ("1.2", 412), ("", 412), (None, 412)],
)
def test_a_schema_version_of_another_time(site, device, changed, version, code):
    before = processes.modules(site.data_dir)
    agent = section(changed, AGENT)
    agent["schemaVersion"] = version
    if version is None:
        del agent["schemaVersion"]
    device.apply(changed)
    found = eventually(lambda: device.status(), what="a word on the new version")
    assert found[0] == code and "schemaVersion" in found[1], found
    goes_on(site, before)


def test_a_deployment_that_is_none(site, device, changed):
    before = processes.modules(site.data_dir)
    section(changed, AGENT)["modules"] = 5
    device.apply(changed)
    found = eventually(lambda: device.status(), what="a word on the new version")
    assert found[0] == 400 and "modules" in found[1], found
    goes_on(site, before)


def test_an_image_that_nothing_runs(site, device, changed):
    before = processes.modules(site.data_dir)
    section(changed, AGENT)["modules"]["stranger"] = edge.module("example.test/stranger:1.0")
    device.apply(changed)
    code, description = eventually(
        lambda: (found := device.status()) and found[0] != 200 and found, what="a word on the new version"
    )
    assert code == 500
    for words in ("stranger", "example.test/stranger:1.0", "images"):
        assert words in description, description
    stranger = device.modules()["stranger"]
    assert stranger["runtimeStatus"] != "running" and "images" in stranger["statusDescription"], stranger
    assert edge.listed(site.data_dir)["stranger"][0] != "running"
    goes_on(site, before)


@pytest.mark.parametrize(
    "route, says",
    [
        ("FROM /messages/* INTO $downstream", ["$downstream", "BrokeredEndpoint", "cloud-to-device"]),
        ("FROM /messages/* WHERE alert = INTO $upstream", ["column"]),
        ('FROM /messages/* INTO BrokeredEndpoint("/modules/job")', ["/modules/"]),
    ],
    ids=["downstream", "condition", "input"],
)
def test_a_route_that_leads_nowhere(site, device, changed, route, says):
    before = processes.modules(site.data_dir)
    # Were this taken, nothing would come to the hub any more.
    section(changed, HUB)["routes"] = {"wrong": route}
    device.apply(changed)
    code, description = eventually(lambda: device.status(HUB), what="a word on the new version")
    assert code == 400 and description.startswith("Error while parsing desired properties"), description
    for words in ["wrong", *says]:
        assert words in description, description
    # The agent has nothing against it.
    assert eventually(lambda: device.status(AGENT)) == (200, "")
    goes_on(site, before)


def test_a_query_that_cannot_run(site, device, changed):
    before = processes.modules(site.data_dir)
    section(changed, JOB)["query"] = "SELECT COUNT(*) AS readings\nINTO counted\nFROM temperature\nGRUP BY 1"
    device.apply(changed)
    refused = lambda: (told := device.reported(JOB).get("query", {})).get("status") == "refused" and told
    error = eventually(refused, what="the refusal")["error"]
    # The word that is wrong is the first of line 4, where an alias ends the statement.
    assert error["line"] == 4 and error["column"] >= 1 and error["message"], error
    goes_on(site, before)

    # A good one again, without a restart.
    section(changed, JOB)["query"] = COUNT.replace("readings", "many")
    device.apply(changed)
    taken = lambda: device.reported(JOB)["query"]["status"] == "running"
    eventually(taken, what="the new query")
    many = lambda got: [event for event in edge.of_module(got, EDGE, JOB) if "many" in event.body_as_json()[0]]
    assert many(events.read(site.ready, many))
    assert processes.modules(site.data_dir) == before


@pytest.mark.parametrize(
    "break_it, says",
    [
        (lambda text: text.replace('"modules": {', '"modules": {,', 1), ["line 2", "column"]),
        (lambda text: text.replace(f'"{SENSOR}": {{', '"two words": {', 1), ["modulesContent", "two words"]),
        (lambda text: text.replace('"always"', '"sometimes"', 1), ["restartPolicy", "sometimes"]),
        (lambda text: text.replace(AGENT, "$edgeAgnet", 1), [AGENT]),
        (lambda text: "[]", ["modulesContent"]),
    ],
    ids=["syntax", "name", "policy", "section", "nothing"],
)
def test_a_wrong_file_is_told_and_not_sent(site, device, good, tmp_path, break_it, says):
    before = device.desired(AGENT)["$version"], device.desired(HUB)["$version"]
    path = tmp_path / "deployment.json"
    path.write_text(break_it(json.dumps(good, indent=None).replace('"modulesContent"', '\n"modulesContent"')))
    arguments = ["--device", EDGE, "--data-dir", site.data_dir, path]
    _, err = command.run("edge", "set-modules", *arguments, status=FAILED)
    for words in [str(path), *says]:
        assert words in err, err
    assert (device.desired(AGENT)["$version"], device.desired(HUB)["$version"]) == before


def test_modules_of_a_device_that_is_not_there(site, good, tmp_path):
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(good))
    arguments = ["--device", "nobody", "--data-dir", site.data_dir, path]
    _, err = command.run("edge", "set-modules", *arguments, status=FAILED)
    assert "nobody" in err and "not" in err, err


def test_commands_name_what_they_miss(site, device, tmp_path):
    _, err = command.run("edge", "restart", "--data-dir", site.data_dir, "nobody", status=FAILED)
    assert "nobody" in err, err
    _, err = command.run("edge", "restart", "--data-dir", site.data_dir, "edgeHub", status=FAILED)
    assert "edgeHub" in err, err
    _, err = command.run("edge", "logs", "--data-dir", site.data_dir, "nobody", status=FAILED)
    assert "nobody" in err, err
    _, err = command.run("edge", "list", "--data-dir", tmp_path, status=FAILED)
    assert str(tmp_path) in err, err
    out, _ = command.run("edge", "logs", "--data-dir", site.data_dir, "--tail", 3, SENSOR)
    assert len(out.splitlines()) == 3 and "Sending message" in out, out
    before = processes.of_module(site.data_dir, SENSOR)
    out, _ = command.run("edge", "restart", "--data-dir", site.data_dir, SENSOR)
    assert out == f"Restarted {SENSOR}\n"
    assert processes.of_module(site.data_dir, SENSOR) != before
