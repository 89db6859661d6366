"""Clients of other makers: mosquitto's commands, MQTT.js, umqtt."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
WITHIN = 60


def run(*command):
    """The output of a command that has to succeed."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=WITHIN).stdout


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_mosquitto_commands(topics, version):
    common = ["-h", "127.0.0.1", "-V", version]
    run("mosquitto_pub", *common, "-t", f"mosquitto/{version}", "-m", "kept", "-q", "2", "-r")
    got = run("mosquitto_sub", *common, "-t", f"mosquitto/{version}", "-q", "2", "-C", "1", "-W", "30", "-F", "%t %p %q %r")
    assert got == f"mosquitto/{version} kept 2 1\n"


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:1883", "ws://127.0.0.1:1883"])
@pytest.mark.parametrize("version", ["4", "5"])
def test_mqtt_js(topics, url, version):
    got = json.loads(run("node", str(HERE / "mqtt_js.mjs"), url, version))
    user = {"user": "1"} if version == "5" else {}
    assert got == {"topic": "js/x", "payload": "hello", "qos": 2, **user}


def test_umqtt(topics):
    """As it runs on a device; only the interpreter is another."""
    program = """
import sys
sys.path[:0] = sys.argv[1:]
import shims
shims.install()
from umqtt.simple import MQTTClient
got = []
client = MQTTClient("umqtt", "127.0.0.1", 1883, keepalive=30)
client.set_callback(lambda topic, payload: got.append((topic, payload)))
client.connect()
client.subscribe(b"micro/#", qos=1)
client.publish(b"micro/x", b"hello", qos=1)
while not got:
    client.wait_msg()
client.disconnect()
print(got[0][0].decode(), got[0][1].decode())
"""
    shims = str(HERE.parents[1] / "device")
    assert run(sys.executable, "-c", program, os.environ["UMQTT_PATH"], shims) == "micro/x hello\n"
