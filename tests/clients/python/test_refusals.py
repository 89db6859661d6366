"""Clients that must be refused: with the right code, one clear line in the log, and nobody else disturbed."""

import re
import ssl
import time

import pytest
import requests

import ironbrook
from ironbrook import eventually, parse
from raw import CONNECTED, Raw, own_token

NOT_AUTHORIZED = 5
OTHER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(scope="module")
def healthy(dev, new_device):
    """A connected device that every refusal must leave alone."""
    name, connection_string = new_device("healthy")
    client = Raw(dev, name, own_token(dev, connection_string))
    assert client.next() == ("connack", CONNECTED)
    yield client, name
    client.close()


@pytest.fixture(autouse=True)
def undisturbed(healthy):
    """After each test the healthy device is still on its first connection, and its messages are acknowledged."""
    yield
    client, name = healthy
    mid = client.publish(f"devices/{name}/messages/events/", b"still here")
    assert client.next() == ("puback", mid)


@pytest.fixture
def warnings(hub):
    """Waits for the warning that names a text, and gives all warnings that name it since the test began."""
    start = len(hub.log())

    def about(text):
        def found():
            return [line for line in hub.log(start).splitlines() if " WARN " in line and text in line]

        eventually(found, what=f"a warning that names {text}")
        return found()

    return about


def refused_connection(dev, device, password):
    """What the hub answers; the connection must be closed after it."""
    client = Raw(dev, device, password)
    answer = client.next()
    assert client.next()[0] == "closed"
    client.close()
    return answer


def one(lines, code, reason):
    """One line, with the Azure code and a reason."""
    assert len(lines) == 1, lines
    assert re.search(code, lines[0]) and re.search(reason, lines[0], re.IGNORECASE), lines[0]


def test_wrong_key(dev, new_device, warnings):
    name, connection_string = new_device("wrong-key")
    password = own_token(dev, connection_string, key=OTHER_KEY)
    assert refused_connection(dev, name, password) == ("connack", NOT_AUTHORIZED)
    one(warnings(name), "401003", "signature|key")
    assert OTHER_KEY not in warnings(name)[0] and "sig=" not in warnings(name)[0]


def test_expired_token(dev, new_device, warnings):
    name, connection_string = new_device("expired")
    password = own_token(dev, connection_string, expiry=int(time.time()) - 3600)
    assert refused_connection(dev, name, password) == ("connack", NOT_AUTHORIZED)
    one(warnings(name), "401003", "expired")


def test_wrong_clock(dev, new_device, warnings):
    # A board that has not set its clock believes in a day of the year 2000 or 2021.
    name, connection_string = new_device("wrong-clock")
    password = own_token(dev, connection_string, expiry=1609459200 + 3600)
    assert refused_connection(dev, name, password) == ("connack", NOT_AUTHORIZED)
    one(warnings(name), "401003", "clock")


def test_unknown_device(dev, new_device, warnings):
    _, connection_string = new_device("known")
    host = parse(connection_string)["HostName"]
    unknown = f"HostName={host};DeviceId=nobody-knows-it;SharedAccessKey={OTHER_KEY}"
    assert refused_connection(dev, "nobody-knows-it", own_token(dev, unknown)) == ("connack", NOT_AUTHORIZED)
    one(warnings("nobody-knows-it"), "404001|40100[23]", "not found|unknown|no device")


def test_disabled_device(dev, new_device, registry, warnings):
    name, connection_string = new_device("disabled")
    device = registry.get_device(name)
    keys = device.authentication.symmetric_key
    registry.update_device_with_sas(name, device.etag, keys.primary_key, keys.secondary_key, "disabled")
    assert refused_connection(dev, name, own_token(dev, connection_string)) == ("connack", NOT_AUTHORIZED)
    one(warnings(name), "403012", "disabled")


def test_token_of_another_device(dev, new_device, warnings):
    _, mine = new_device("mine")
    victim, _ = new_device("victim")
    assert refused_connection(dev, victim, own_token(dev, mine)) == ("connack", NOT_AUTHORIZED)
    one(warnings(victim), "40100[23]", "signed for .*, not for")


def test_topic_of_another_device(dev, new_device, healthy, warnings):
    name, connection_string = new_device("intruder")
    _, other = healthy
    client = Raw(dev, name, own_token(dev, connection_string))
    assert client.next() == ("connack", CONNECTED)
    client.publish(f"devices/{other}/messages/events/", b"forged")
    assert client.next()[0] == "closed", "no acknowledgement, and the connection is cut"
    client.close()
    assert len(warnings(name)) == 1


def test_client_that_does_not_know_the_ca(dev, hub, tmp_path, warnings):
    with pytest.raises(ssl.SSLCertVerificationError):
        # Trusts the machine's authorities only.
        Raw(dev, "whoever", "x", ca_file=ssl.get_default_verify_paths().openssl_cafile)
    lines = warnings("CA file")
    assert len(lines) == 1, lines


def test_service_with_a_wrong_key(dev, warnings):
    parts = parse(dev["hub_connection_string"])
    password = ironbrook.token(parts["HostName"], OTHER_KEY, policy="iothubowner")
    url = f"https://{parts['HostName']}/devices/thermistor-1?api-version=2021-04-12"
    answer = requests.get(url, headers={"Authorization": password}, timeout=20)
    assert answer.status_code == 401
    assert "IotHubUnauthorized" in answer.json()["Message"]
    assert len(warnings("iothubowner")) == 1


def test_policy_without_the_right(dev, registry, new_device):
    # A device's own token is no service token.
    name, connection_string = new_device("not-a-service")
    parts = parse(connection_string)
    url = f"https://{parts['HostName']}/devices/{name}?api-version=2021-04-12"
    answer = requests.get(url, headers={"Authorization": own_token(dev, connection_string)}, timeout=20)
    assert answer.status_code == 401
