"""Commands for services and operators: messages to devices, tokens, hubs by name, completions."""

import json
import pathlib
import queue
import stat
import subprocess

import pytest
import requests
from azure.iot.device import IoTHubDeviceClient

import command
from ironbrook import parse

DEVICE = "thermistor-1"


@pytest.fixture(scope="module")
def at(dev):
    """The option by which a command finds the hub."""
    return ["--data-dir", dev["data_dir"]]


@pytest.fixture
def device(at):
    """A device whose queue is empty."""
    command.run("c2d-message", "purge", *at, "--device-id", DEVICE)
    return ["--device-id", DEVICE]


def received(at, *arguments):
    out, _ = command.run("c2d-message", "receive", *at, *arguments, "--output", "json")
    return json.loads(out) if out else None


def test_a_message_is_sent_received_and_completed(at, device):
    options = ["--property", "colour=red", "--message-id", "m-1", "--content-type", "text/plain"]
    command.run("c2d-message", "send", *at, *device, "--data", "hello", *options)
    abandoned = received(at, *device, "--end", "abandon")
    message = received(at, *device)
    assert (message["body"], message["properties"]) == ("hello", {"colour": "red"})
    assert message["system_properties"]["iothub-messageid"] == "m-1"
    assert (abandoned["delivery_count"], message["delivery_count"]) == (0, 1)
    # It is locked, and then it is gone.
    assert received(at, *device) is None
    command.run("c2d-message", "settle", *at, *device, "--lock", message["lock"], "--end", "complete")
    _, err = command.run(
        "c2d-message", "settle", *at, *device, "--lock", message["lock"], "--end", "complete", status=command.FAILED
    )
    assert "412" in err
    assert received(at, *device) is None


def test_a_stock_device_gets_what_is_sent(at, dev, device):
    client = IoTHubDeviceClient.create_from_connection_string(
        dev["device_connection_strings"][DEVICE], server_verification_cert=pathlib.Path(dev["ca_file"]).read_text()
    )
    got = queue.Queue()
    try:
        client.connect()
        client.on_message_received = got.put
        command.run("c2d-message", "send", *at, *device, "--data", "now", "--property", "a=b c")
        message = got.get(timeout=60)
        assert (message.data, message.custom_properties["a"]) == (b"now", "b c")
    finally:
        client.shutdown()


def test_purge_says_how_many(at, device):
    for _ in range(3):
        command.run("c2d-message", "send", *at, *device, "--data", "x")
    out, _ = command.run("c2d-message", "purge", *at, *device, "--output", "json")
    assert json.loads(out) == {"device": DEVICE, "purged": 3}
    assert received(at, *device) is None


def test_a_message_to_nobody_is_an_error_that_says_so(at):
    _, err = command.run("c2d-message", "send", *at, "--device-id", "nobody", "--data", "x", status=command.FAILED)
    assert "nobody" in err


@pytest.mark.parametrize("of", ["hub", "device"])
def test_a_token_is_taken_by_the_hub(at, dev, of):
    device = ["--device-id", DEVICE] if of == "device" else []
    out, _ = command.run("generate-sas-token", *at, *device, "--duration", "60")
    host = parse(dev["hub_connection_string"])["HostName"]
    paths = {"hub": "devices", "device": f"devices/{DEVICE}/messages/devicebound"}
    url = f"https://{host}/{paths[of]}?api-version=2021-04-12"
    answer = requests.get(url, headers={"Authorization": out.strip()}, verify=dev["ca_file"], timeout=20)
    assert answer.status_code in (200, 204), answer.text
    other = f"https://{host}/{paths['hub' if of == 'device' else 'device']}?api-version=2021-04-12"
    if of == "device":
        refused = requests.get(other, headers={"Authorization": out.strip()}, verify=dev["ca_file"], timeout=20)
        assert refused.status_code == 401


def test_events_are_monitored_under_the_other_name(at, dev):
    connection_string = dev["device_connection_strings"][DEVICE]
    options = ["--connection-string", connection_string, "--ca", dev["ca_file"], "--count", "1", "--interval", "10ms"]
    command.run("device", "thermistor", *options)
    out, _ = command.run("monitor-events", *at, "--from", "earliest", "--count", "1", "--output", "json")
    assert json.loads(out)["device"] == DEVICE


def test_a_hub_is_found_by_its_name(dev, tmp_path):
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    command.run("context", "set", "plant", "--data-dir", dev["data_dir"], **home)
    command.run("context", "set", "other", "--hub", "HostName=elsewhere;SharedAccessKeyName=p;SharedAccessKey=a2V5", **home)
    file = tmp_path / "config/ironbrook/contexts.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    out, _ = command.run("context", "list", "--output", "json", **home)
    listed = {row["name"]: row for row in map(json.loads, out.splitlines())}
    assert listed["plant"]["current"] and not listed["other"]["current"]
    assert "a2V5" not in out
    # The one in use is taken where nothing else is said, and another by its name.
    command.run("c2d-message", "purge", "--device-id", DEVICE, cwd=tmp_path, **home)
    token, _ = command.run("generate-sas-token", "--context", "other", cwd=tmp_path, **home)
    assert "sr=elsewhere&" in token
    command.run("context", "use", "other", **home)
    token, _ = command.run("generate-sas-token", cwd=tmp_path, **home)
    assert "sr=elsewhere&" in token
    command.run("context", "remove", "other", **home)
    _, err = command.run("context", "use", "other", status=command.FAILED, **home)
    assert "plant" in err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_know_the_commands(shell):
    out, _ = command.run("completions", shell)
    assert "c2d-message" in out and "--device-id" in out or "device-id" in out
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out, text=True, check=True)
