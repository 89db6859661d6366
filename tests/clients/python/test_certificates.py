"""PyPI azure-iot-device with certificates of an authority, and `ironbrook certificate` and `refusals` around it."""

import json
import os
import pathlib
import subprocess

import pytest
import requests
from azure.iot.device import X509, IoTHubDeviceClient, Message

import events
from authority import Authority
from ironbrook import eventually, parse, token


@pytest.fixture(scope="module")
def host(dev):
    return parse(dev["hub_connection_string"])["HostName"]


@pytest.fixture(scope="module")
def command(hub):
    """Runs `ironbrook` on that hub's data folder; gives the lines of JSON."""

    def run(*words, check=True):
        binary = os.environ["IRONBROOK_BIN"]
        noun, *rest = words
        line = [binary, noun, "--data-dir", str(hub.data_dir), *rest, "--output", "json"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()] if check else done.stderr

    return run


@pytest.fixture(scope="module")
def plant(tmp_path_factory, command):
    """An authority whose key was proven to be held, and the line that signs below it."""
    folder = tmp_path_factory.mktemp("plant")
    root = Authority(folder, "Plant Root")
    [added] = command("certificate", "add", "plant", str(root.certificate))
    assert added["properties"]["isVerified"] is False
    [code] = command("certificate", "verify", "plant")
    proof, _ = root.sign(code["verificationCode"], file="proof")
    [verified] = command("certificate", "verify", "plant", proof)
    assert verified["properties"]["isVerified"] is True
    return Authority(folder, "Line 4", above=root)


@pytest.fixture
def open_client(dev, host):
    clients = []

    def open_client(device, files, **options):
        ca = pathlib.Path(dev["ca_file"]).read_text()
        client = IoTHubDeviceClient.create_from_x509_certificate(
            X509(*files), host, device, server_verification_cert=ca, connection_retry=False, **options
        )
        clients.append(client)
        client.connect()
        return client

    yield open_client
    for client in clients:
        client.shutdown()


@pytest.mark.parametrize(
    "websockets",
    [
        pytest.param(False, id="mqtt", marks=pytest.mark.client("azure-iot-device/authority-mqtt")),
        pytest.param(True, id="websocket", marks=pytest.mark.client("azure-iot-device/authority-mqtt-ws")),
    ],
)
@pytest.mark.feature("chain")
def test_a_chain_to_a_verified_authority_proves_the_device(websockets, dev, registry, plant, open_client):
    name = f"chain-{'ws' if websockets else 'mqtt'}"
    registry.create_device_with_certificate_authority(name, "enabled")
    client = open_client(name, plant.sign(name), websockets=websockets)
    client.send_message(Message("proved"))
    [event] = events.of_device(events.read(dev, lambda got: events.of_device(got, name)), name)
    method = json.loads(event.system_properties[b"iothub-connection-auth-method"])
    assert (method["type"], method["issuer"]) == ("x509", "external")


def test_a_chain_proves_the_device_over_https(dev, registry, host, plant):
    registry.create_device_with_certificate_authority("chain-https", "enabled")
    url = f"https://{host}/devices/chain-https/messages/events?api-version=2021-04-12"
    answer = requests.post(url, data=b"x", cert=plant.sign("chain-https"), verify=dev["ca_file"], timeout=60)
    assert answer.status_code == 204, answer.text
    other = plant.sign("another-name")
    answer = requests.post(url, data=b"x", cert=other, verify=dev["ca_file"], timeout=60)
    assert answer.status_code == 401
    assert "'another-name'" in answer.json()["Message"]


def test_who_is_refused_is_told_why(dev, registry, host, plant, open_client, command, tmp_path):
    registry.create_device_with_certificate_authority("refused", "enabled")
    registry.create_device_with_sas("with-keys", "", "", "enabled")
    stranger = Authority(tmp_path, "Stranger Root")
    pending = Authority(tmp_path, "Pending Root")
    command("certificate", "add", "pending", str(pending.certificate))
    for device, files, cause in [
        ("refused", stranger.sign("refused", file="a"), "unknownAuthority"),
        ("refused", pending.sign("refused", file="b"), "unverifiedAuthority"),
        ("refused", plant.sign("someone-else", file="c"), "otherName"),
        ("with-keys", plant.sign("with-keys"), "otherCredential"),
    ]:
        with pytest.raises(Exception):
            open_client(device, files)
        newest, *_ = command("refusals", device)
        assert (newest["cause"], newest["protocol"]) == (cause, "mqtt"), newest
        assert newest["address"].startswith("127.0.0.1:")
    wrong = token(f"{host}/devices/with-keys", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    url = f"https://{host}/devices/with-keys/messages/events?api-version=2021-04-12"
    requests.post(url, data=b"x", headers={"Authorization": wrong}, verify=dev["ca_file"], timeout=60)
    newest, *_ = command("refusals", "with-keys")
    assert (newest["cause"], newest["protocol"]) == ("wrongKey", "https")


def test_a_device_is_cut_off_when_its_authority_is_deleted(registry, command, open_client, tmp_path):
    short = Authority(tmp_path, "Short Lived Root")
    command("certificate", "add", "short", str(short.certificate), "--verified")
    registry.create_device_with_certificate_authority("cut-off", "enabled")
    client = open_client("cut-off", short.sign("cut-off"))
    command("certificate", "delete", "short")
    eventually(lambda: not client.connected, what="the end of the connection")
    with pytest.raises(Exception):
        open_client("cut-off", short.sign("cut-off", file="again"))
    assert "CertificateNotFound" in command("certificate", "delete", "short", check=False)
