"""Modules on the stock SDKs, unmodified: Python and Node, over each of their transports."""

import itertools
import json
import subprocess

import pytest
from azure.iot.hub.models import Twin, TwinProperties

import command
import edge
import events
from conftest import EDGE, IMAGES, node
from edge import AGENT, section
from ironbrook import eventually

KINDS = ["python", "python-websockets", "node-mqtt", "node-mqtt-ws", "node-amqp", "node-amqp-ws"]
# Each sends to the next one's input: both ends of each transport.
NEXT = dict(zip(KINDS, KINDS[1:] + KINDS[:1]))
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def device(site):
    """The edge device with a module of each kind, all ready for calls."""
    assert all(f"example.test/{kind}" in IMAGES for kind in KINDS)
    ring = {
        f"ring{index}": f'FROM /messages/modules/{kind}/outputs/next INTO BrokeredEndpoint("/modules/{NEXT[kind]}/inputs/{kind}")'
        for index, kind in enumerate(KINDS)
    }
    routes = {"readings": "FROM /messages/modules/* WHERE kind = 'reading' INTO $upstream", **ring}
    modules = {kind: edge.module(f"example.test/{kind}:1.0") for kind in KINDS}
    site.device.apply(edge.manifest(modules, routes))
    site.device.running(120)
    return site.device


def ask(device, kind, method, payload=None):
    status, answer = device.call(kind, method, payload)
    assert status == 200, answer
    return answer


@pytest.mark.parametrize("kind", KINDS)
def test_a_direct_method_is_answered(device, kind):
    payload = {"depth": [1, {"deep": "größe"}], "none": None}
    assert ask(device, kind, "echo", payload) == {"method": "echo", "got": payload}


def message(**properties):
    number = next(numbers)
    return {"output": "out", "body": {"number": number}, "id": f"id {number}", "properties": properties}


@pytest.mark.parametrize("kind", KINDS)
def test_telemetry_on_an_output_goes_where_its_route_leads(device, site, kind):
    unrouted, routed = message(kind="noise"), message(kind="reading", place="hall 3/ä&=%")
    ask(device, kind, "send", unrouted)
    ask(device, kind, "send", routed)
    wanted = routed["body"]["number"]

    def of_kind(got):
        return {event.body_as_json()["number"]: event for event in edge.of_module(got, EDGE, kind)}

    got = of_kind(events.read(site.ready, lambda got: wanted in of_kind(got)))
    assert wanted in got and unrouted["body"]["number"] not in got
    event = got[wanted]
    assert event.message_id == routed["id"]
    assert event.content_type == "application/json"
    assert event.raw_amqp_message.properties.content_encoding in ("utf-8", b"utf-8")
    properties = {name.decode(): value.decode() for name, value in event.properties.items()}
    assert routed["properties"].items() <= properties.items()


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_of_one_module_arrives_at_the_input_of_another(device, kind):
    sent = {**message(colour="grün"), "output": "next"}
    ask(device, kind, "send", sent)

    def arrived():
        messages = ask(device, NEXT[kind], "received")["messages"]
        return [found for found in messages if found["body"] == sent["body"]]

    (found,) = eventually(arrived, what="the message")
    assert (found["input"], found["id"]) == (kind, sent["id"])
    assert found["properties"]["colour"] == "grün"


@pytest.mark.parametrize("kind", KINDS)
def test_twins_go_both_ways(device, kind):
    number = next(numbers)
    wish = Twin(properties=TwinProperties(desired={"interval": number, "nested": {"on": True}}))
    device.registry.update_module_twin(EDGE, kind, wish, "*")
    eventually(
        lambda: any(patch.get("interval") == number for patch in ask(device, kind, "changes")["patches"]),
        what="the change of desired properties",
    )
    twin = ask(device, kind, "twin")
    assert twin["desired"]["interval"] == number and twin["desired"]["nested"] == {"on": True}

    ask(device, kind, "report", {"interval": number, "gone": number})
    ask(device, kind, "report", {"gone": None, "firmware": {"version": "1.2"}})
    # The edge hub gathers what is reported for some seconds.
    wanted = {"interval": number, "firmware": {"version": "1.2"}}
    eventually(lambda: wanted.items() <= device.reported(kind).items(), what="the reported properties")
    assert "gone" not in device.reported(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_calls_a_method_of_another(device, kind):
    payload = {"from": kind}
    answer = ask(device, kind, "invoke", {"module": NEXT[kind], "method": "echo", "payload": payload})
    assert answer == {"status": 200, "payload": {"method": "echo", "got": payload}}


def test_modules_are_told_of_as_connected(device):
    clients = device.reported(edge.HUB)["clients"]
    assert {f"{EDGE}/{kind}" for kind in KINDS} <= clients.keys()
    for kind in KINDS:
        assert clients[f"{EDGE}/{kind}"]["status"] == "Connected"


def test_the_node_sdk_sets_modules_and_only_the_new_one_starts(device, site, tmp_path):
    before = device.modules()
    document = device.deployed()
    section(document, AGENT)["modules"]["another"] = edge.module("example.test/python:1.0")
    path = tmp_path / "deployment.json"
    path.write_text(json.dumps(document))
    done = subprocess.run(
        list(map(str, [*node("apply"), EDGE, path])),
        env=command.environment(SERVICE=site.ready["hub_connection_string"]),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    after = device.running()
    assert set(after) - set(before) == {"another"}
    assert {name: after[name]["lastStartTimeUtc"] for name in before} == {
        name: entry["lastStartTimeUtc"] for name, entry in before.items()
    }
    assert ask(device, "another", "echo", 1) == {"method": "echo", "got": 1}

    # What is no longer deployed ends, and its identity goes.
    del section(document, AGENT)["modules"]["another"]
    device.apply(document)
    device.running()
    names = lambda: {module.module_id for module in device.registry.get_modules(EDGE)}
    eventually(lambda: "another" not in names(), what="the identity's end")
