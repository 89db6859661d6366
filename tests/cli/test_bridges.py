"""Bridges of ordinary topics, with mosquitto on the other side and with the devices of a hub."""

import json
import os
import subprocess

import pytest

import command
from ironbrook import Dev, eventually
from mosquitto import Mosquitto

# The tests run in a network namespace of their own.
OURS, THEIRS = 18840, 18841
HERE, THERE = f"mqtt://127.0.0.1:{OURS}", f"mqtt://127.0.0.1:{THEIRS}"
SEED = {"devices": [{"deviceId": "pump"}, {"deviceId": "off", "status": "disabled"}]}

CONFIG = f"""
[listen]
mqtt_topics = "127.0.0.1:{OURS}"

[topics]
anonymous = true
sparkplug = true

[[topics.bridge_devices]]
telemetry = "plant/{{device}}/telemetry"
reported = "plant/{{device}}/reported"
commands = "plant/{{device}}/commands"
desired = "plant/{{device}}/desired"
devices = ["pump"]

[[topics.bridges]]
name = "site"
url = "{THERE}"
version = "VERSION"
topics = [
    {{ filter = "#", direction = "out", qos = 2, local_prefix = "up/", remote_prefix = "site/" }},
    {{ filter = "#", direction = "in", qos = 2, local_prefix = "down/", remote_prefix = "orders/" }},
    {{ filter = "chat/#", direction = "both" }},
]
"""


def dev(folder, version="5.0"):
    config, seed = folder / "bridges.toml", folder / "seed.json"
    config.write_text(CONFIG.replace("VERSION", version))
    seed.write_text(json.dumps(SEED))
    return Dev(folder, "--config", config, "--seed", seed, "--no-thermistor", "--no-edge")


def publish(url, topic, text, *options, qos=1):
    command.run("mqtt", "pub", "--url", url, "--topic", topic, "--message", text, "--qos", qos, *options)


def session(url, topic, client_id, count=None, wait="1s", qos=2):
    """Goes on with a persistent session, which is made with a count of none; gives its messages."""
    stop = ["--timeout", wait] if count is None else ["--count", count, "--timeout", "60s"]
    kept = ["--client-id", client_id, "--session-expiry", "1h", "--qos", qos, "--output", "json"]
    out, _ = command.run("mqtt", "sub", "--url", url, "--topic", topic, *kept, *stop)
    return [json.loads(line) for line in out.splitlines()]


def state(wanted):
    """Waits until the bridge says so, in the topic where mosquitto's bridges do."""

    def told():
        topic = ["--topic", "$SYS/broker/connection/site/state", "--count", "1", "--timeout", "10s"]
        out, _ = command.run("mqtt", "sub", "--url", HERE, *topic)
        return out.strip() == wanted

    eventually(told, what=f"state {wanted}")


def payloads(messages):
    return [message["payload"] for message in messages]


@pytest.fixture(params=["5.0", "3.1.1"])
def bridged(tmp_path, request):
    """A hub and mosquitto, bridged in a version of MQTT."""
    persistent = ["allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/kept/", "max_queued_messages 0"]
    (tmp_path / "kept").mkdir()
    hub = dev(tmp_path, request.param)
    with Mosquitto(tmp_path / "mosquitto", *persistent, port=THEIRS) as broker:
        hub.start()
        try:
            state("1")
            yield hub, broker
        finally:
            if hub.process.poll() is None:
                hub.kill()


def test_messages_cross_in_both_directions_with_what_goes_with_them(bridged):
    hub, _ = bridged
    session(THERE, "site/#", "there", wait="500ms")
    session(HERE, "down/#", "here", wait="500ms")
    properties = ["--user-property", "a=1", "--content-type", "text/plain"]
    publish(HERE, "up/a/b", "out", "--retain", *properties, qos=2)
    (out,) = session(THERE, "site/#", "there", count=1)
    assert (out["topic"], out["payload"]) == ("site/a/b", "out")
    kept, _ = command.run("mqtt", "sub", "--url", THERE, "--topic", "site/a/b", "--count", "1", "--timeout", "30s")
    assert kept == "out\n", "its retain flag crossed as well"
    publish(THERE, "orders/7", "in", *properties, qos=2)
    (come,) = session(HERE, "down/#", "here", count=1)
    assert (come["topic"], come["payload"], come["qos"]) == ("down/7", "in", 2)
    if hub_speaks_v5(hub):
        expected = {"content_type": "text/plain", "user": [["a", "1"]]}
        assert (out["properties"], come["properties"]) == (expected, expected)


def hub_speaks_v5(hub):
    return 'version = "5.0"' in (hub.data_dir.parent / "bridges.toml").read_text()


def test_what_is_bridged_both_ways_comes_once(bridged):
    for url, who in [(HERE, "here"), (THERE, "there")]:
        session(url, "chat/#", who, wait="500ms")
    # Behind the first two, one that went round would come before the ends.
    for pair in [["from here", "from there"], ["end of here", "end of there"]]:
        publish(HERE, "chat/1", pair[0])
        publish(THERE, "chat/2", pair[1])
        for url, who in [(HERE, "here"), (THERE, "there")]:
            assert sorted(payloads(session(url, "chat/#", who, count=2))) == pair


def gather(url, topic, client_id, wanted):
    """Takes messages until all that are wanted have come; some may come twice."""
    come = set()
    while missing := len(set(wanted) - come):
        come |= set(payloads(session(url, topic, client_id, count=missing)))
    assert come == set(wanted)


def lines(url, topic, texts):
    done = subprocess.run(
        [os.environ["IRONBROOK_BIN"], "mqtt", "pub", "--url", url, "--topic", topic, "--qos", "1", "--stdin-lines"],
        input="\n".join(texts).encode(),
        timeout=command.COMMAND_WITHIN,
        env=command.environment(),
    )
    assert done.returncode == 0


def test_nothing_acknowledged_is_lost_while_either_side_is_away(bridged):
    hub, broker = bridged
    session(THERE, "site/#", "there", wait="500ms")
    session(HERE, "down/#", "here", wait="500ms")
    broker.stop()
    state("0")
    wanted = [f"out {n}" for n in range(500)]
    lines(HERE, "up/x", wanted[:250])
    # Killed with what it has to pass on: that is on its disk.
    hub.kill()
    hub.start()
    lines(HERE, "up/x", wanted[250:])
    broker.start()
    state("1")
    gather(THERE, "site/#", "there", wanted)
    hub.kill()
    wanted = [f"in {n}" for n in range(500)]
    lines(THERE, "orders/x", wanted)
    hub.start()
    gather(HERE, "down/#", "here", wanted)


def test_topics_are_devices_of_the_hub(tmp_path):
    hub = dev(tmp_path)
    ready = hub.start()
    try:
        desired, _ = command.run(
            "mqtt", "sub", "--url", HERE, "--topic", "plant/pump/desired", "--count", "1", "--timeout", "60s"
        )
        assert json.loads(desired)["$version"] == 1
        properties = ["--user-property", "fault=open", "--content-type", "application/json"]
        publish(HERE, "plant/off/telemetry", "of a disabled device")
        publish(HERE, "plant/pump/telemetry", '{"celsius": 21.5}', *properties)
        out, _ = command.run(
            "messages", "monitor", "--data-dir", ready["data_dir"], "--from", "earliest", "--count", "1", "--output", "json"
        )
        message = json.loads(out)
        assert (message["device"], message["body"]) == ("pump", {"celsius": 21.5})
        assert message["properties"] == {"fault": "open"}
        log = hub.log()
        assert "a bridge speaks for a device" in log and "refused a device" in log
    finally:
        hub.stop()


def test_births_of_sparkplug_are_kept(tmp_path):
    hub = dev(tmp_path)
    hub.start()
    try:
        publish(HERE, "spBv1.0/plant/NBIRTH/line", "birth", qos=0)

        def kept():
            topic = ["--topic", "$sparkplug/certificates/#", "--timeout", "1s", "--verbose"]
            out, _ = command.run("mqtt", "sub", "--url", HERE, *topic)
            return out

        assert eventually(kept) == "$sparkplug/certificates/spBv1.0/plant/NBIRTH/line birth\n"
    finally:
        hub.stop()
