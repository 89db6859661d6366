"""Who may what: users, rules, the hub's identities."""

import os
import subprocess

import pytest
from conftest import Client
from ironbrook import Dev
from paho.mqtt.client import MQTTv311

PORT = 1903

CONFIG = """
[topics]
sys_interval_seconds = 0

[[topics.users]]
name = "line1"
password_hash = "{hash}"

[[topics.rules]]
user = "line1"
access = "publish"
filter = "plant/%u/#"

[[topics.rules]]
access = "subscribe"
filter = "plant/secret/#"
deny = true

[[topics.rules]]
access = "subscribe"
filter = "plant/#"
"""


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    made = subprocess.run(
        [os.environ["IRONBROOK_BIN"], "mqtt", "passwd"], input="secret\n", capture_output=True, text=True, check=True
    )
    assert made.stdout.startswith("pbkdf2-sha256$")
    (folder / "ironbrook.toml").write_text(CONFIG.format(hash=made.stdout.strip()))
    hub = Dev(
        folder, "--no-edge", "--no-thermistor", "--mqtt-topics", f"127.0.0.1:{PORT}",
        "--config", folder / "ironbrook.toml",
    )  # fmt: skip
    for purpose in ["mqtt", "https", "https-fallback", "amqp", "amqp-plain", "portal", "blob"]:
        hub.environment[f"IRONBROOK__LISTEN__{purpose.replace('-', '_').upper()}"] = "127.0.0.1:0"
    hub.start()
    yield hub
    hub.stop()


@pytest.mark.parametrize("user", [None, ("line1", "wrong"), ("nobody", "secret"), ("line1", None)])
def test_who_is_not_known_does_not_get_in(broker, user):
    client = Client("c", user=user)
    _, reason, _ = client.connect(port=PORT)
    assert reason.value == 0x86
    client.close()
    client = Client("c", MQTTv311, user=user)
    _, reason, _ = client.connect(port=PORT)
    assert reason.is_failure
    client.close()


def test_rules_hold_for_publishing_and_subscribing(broker):
    client = Client("c", user=("line1", "secret"))
    client.connect(port=PORT)
    assert client.subscribe("plant/secret/a", 1)[0].value == 0x87
    # A part of it is denied.
    assert client.subscribe("plant/#", 1)[0].value == 0x87
    assert client.subscribe("plant/line1/#", 1)[0].value == 1
    assert client.publish("plant/line2/a", "x").value == 0x87
    assert client.publish("plant/line1/a", "x").value == 0
    assert client.message().topic == "plant/line1/a"
    client.disconnect()


def test_a_device_of_the_hub_does_not_get_in(broker):
    client = Client("thermistor-1", user=("localhost/thermistor-1/?api-version=2021-04-12", "SharedAccessSignature x"))
    _, reason, _ = client.connect(port=PORT)
    assert reason.value == 0x87
    client.close()
    assert "topics.hub_identities" in broker.log()
