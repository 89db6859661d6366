"""`ironbrook dev` from its start to its end: what it shows, keeps, prepares, and when it refuses."""

import hashlib
import json
import os
import pathlib
import pty
import re
import signal
import ssl
import subprocess

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from azure.storage.blob import BlobServiceClient

import command
import events
import rest
from command import FAILED, USAGE, Shown
from ironbrook import STOPPED_WITHIN, eventually, parse, trust
from raw import CONNECTED, Raw, own_token

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def fingerprint(ca_file):
    """As a browser or `openssl x509 -fingerprint` shows it."""
    certificate = ssl.PEM_cert_to_DER_cert(pathlib.Path(ca_file).read_text())
    return ":".join(re.findall("..", hashlib.sha256(certificate).hexdigest().upper()))


def test_the_screen_tells_everything_and_its_lines_work(tmp_path):
    # In the folder one stands in, as most users will; a shell must survive its name.
    folder = tmp_path / "it's my hub"
    folder.mkdir()
    with Shown(tmp_path, cwd=folder) as dev:
        screen = dev.until("Ctrl-C stops.")
        # Addresses first, then connection strings, then the rest: "blob" is a row of the first two.
        listeners, rows = [
            dict(re.findall(r"^ +(\S.*?)  +(\S.*)$", part, re.MULTILINE)) for part in screen.split("\n\n", 2)[1:]
        ]
        ready = json.loads((folder / "ironbrook-data" / "connection.json").read_text())
        ports = {"mqtt": 8883, "https": 443, "amqp": 5671, "amqp_plain": 5672, "blob": 10000, "portal": 8080}
        for purpose, port in ports.items():
            assert f"127.0.0.1:{port}" in listeners[purpose].split(), purpose
        assert rows["device thermistor-1"] == ready["device_connection_strings"]["thermistor-1"]
        assert rows["service"] == ready["hub_connection_string"]
        assert rows["events"] == ready["events_connection_string"]
        assert rows["events, plain"] == ready["events_connection_string_plain"]
        assert rows["blob"] == ready["blob_connection_string"]
        assert re.fullmatch(r"http://localhost:8080/\?token=[0-9a-f]{32}", rows["page"])
        assert rows["data"] == str(folder / "ironbrook-data")
        assert rows["authority"] == str(folder / "ironbrook-data/ca/ca.pem")
        assert rows["SHA-256"] == fingerprint(rows["authority"])

        lines = re.search(r"A first message.*\n\n((?:\S.*\n)+)\nCtrl-C stops", screen).group(1)
        assert len(lines.splitlines()) == 3
        shell = subprocess.run(
            ["sh", "-eu"], input=lines, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=command.environment()
        )
        assert shell.returncode == 0, shell.stderr
        shown = shell.stdout.splitlines()[1:]
        assert len(shown) == 3 and any('{"temperature": 30.5}' in row for row in shown), shell.stdout
        assert dev.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_though_a_device_is_connected(new_hub, how):
    hub = new_hub()
    ready = hub.start()
    client = Raw(ready, "thermistor-1", own_token(ready, ready["device_connection_strings"]["thermistor-1"]))
    assert client.next() == ("connack", CONNECTED)
    hub.process.send_signal(how)
    assert hub.process.wait(STOPPED_WITHIN) == 0
    assert client.next()[0] == "closed"
    client.close()
    assert f'signal="{how.name}"' in hub.log() and "stopped" in hub.log().splitlines()[-1]


def seen_by_services(ready, messages):
    """All that a restart has to keep, as stock clients see it."""
    registry = IoTHubRegistryManager.from_connection_string(ready["hub_connection_string"])
    device = registry.get_device("press-7")
    twin = registry.get_twin("press-7")
    got = events.of_device(events.read(ready, lambda got: len(got) >= messages), "press-7")
    service = BlobServiceClient.from_connection_string(ready["blob_connection_string"])
    blobs = {}
    for container in service.list_containers():
        client = service.get_container_client(container.name)
        for blob in client.list_blobs():
            blobs[container.name, blob.name] = (blob.etag, client.download_blob(blob.name).readall())
    return {
        "keys": device.authentication.symmetric_key.as_dict(),
        "generation": device.generation_id,
        "twin": (twin.etag, twin.version, twin.properties.desired, twin.properties.reported, twin.tags),
        "events": [(event.sequence_number, event.offset, event.enqueued_time, event.body_as_json()) for event in got],
        "blobs": blobs,
    }


def change_twin(ready):
    """Both halves of it, by service and device."""
    registry = IoTHubRegistryManager.from_connection_string(ready["hub_connection_string"])
    host = parse(ready["hub_connection_string"])["HostName"]
    key = registry.create_device_with_sas("press-7", "", "", "enabled").authentication.symmetric_key.primary_key
    registry.update_twin("press-7", Twin(tags={"hall": 3}, properties=TwinProperties(desired={"interval": 5})), "*")
    connection_string = f"HostName={host};DeviceId=press-7;SharedAccessKey={key}"
    client = IoTHubDeviceClient.create_from_connection_string(
        connection_string, server_verification_cert=pathlib.Path(ready["ca_file"]).read_text()
    )
    client.patch_twin_reported_properties({"firmware": "1.2"})
    client.shutdown()
    return connection_string


def test_a_second_start_goes_on_where_the_first_ended(new_hub):
    hub = new_hub()
    trust(hub.start())
    own = change_twin(hub.ready)
    # Devices made since the start are not in its ready line.
    first = {**hub.ready, "device_connection_strings": {**hub.ready["device_connection_strings"], "press-7": own}}
    for number in range(5):
        rest.send(first, "press-7", {"number": number})

    def in_both_containers():
        blobs = seen_by_services(first, 5)["blobs"]
        return {container for container, _ in blobs} == {"telemetry-json", "telemetry-avro"} and sum(
            body.count(b"\n") for (container, _), (_, body) in blobs.items() if container == "telemetry-json"
        ) == 5

    eventually(in_both_containers, what="all messages in blobs")
    before = seen_by_services(first, 5)
    assert before["twin"][2]["interval"] == 5 and before["twin"][3]["firmware"] == "1.2"
    authority = pathlib.Path(first["ca_file"]).read_bytes()
    hub.stop()

    second = hub.start()
    assert pathlib.Path(second["ca_file"]).read_bytes() == authority
    assert second["device_connection_strings"] == first["device_connection_strings"]
    differ = {name for name in second if second[name] != first[name]}
    assert differ == {"pid", "portal_url"}, "the page's token is for one time"
    assert seen_by_services(second, 5) == before

    rest.send(second, "press-7", {"number": 5})
    after = seen_by_services(second, 6)["events"]
    assert after[:5] == before["events"]
    assert after[5][0] == before["events"][-1][0] + 1 and after[5][3] == {"number": 5}
    hub.stop()


def test_ephemeral_leaves_nothing_behind(tmp_path):
    temporary, here = tmp_path / "tmp", tmp_path / "here"
    temporary.mkdir()
    here.mkdir()
    with Shown(tmp_path, "--ephemeral", "--output", "json", cwd=here, TMPDIR=str(temporary)) as dev:
        out = dev.until("{")
        assert out.count("\n") == 1
        ready = json.loads(out)
        assert pathlib.Path(ready["data_dir"]).parent == temporary
        assert ready["pid"] == dev.process.pid
        assert ready["ca_sha256"] == fingerprint(ready["ca_file"])
        rest.send(ready, "thermistor-1", {"temperature": 30.5})

        def arrived(got):
            # The edge device that runs beside sends other shapes to the same endpoint.
            return any(e.body_as_json()["temperature"] == 30.5 for e in events.of_device(got, "thermistor-1"))

        assert arrived(events.read(ready, arrived))
        assert dev.stop() == 0
    assert not list(temporary.iterdir()) and not list(here.iterdir())
    with Shown(tmp_path, "--ephemeral", "--data-dir", tmp_path / "data") as dev:
        assert dev.process.wait(STOPPED_WITHIN) == USAGE
    assert not (tmp_path / "data").exists()


def seed_file(folder, **members):
    path = folder / "seed.json"
    path.write_text(json.dumps(members, indent=2))
    return path


def test_a_seed_file_prepares_devices_twins_and_routes(new_hub, tmp_path):
    routes = [
        {"name": "telemetry-to-events", "condition": "alert = 'true'", "endpoints": ["events"]},
        {"name": "telemetry-to-json", "condition": "NOT IS_DEFINED(alert)", "endpoints": ["telemetry-json"]},
        {"name": "telemetry-to-avro", "endpoints": ["telemetry-avro"], "enabled": False},
    ]
    device = {"deviceId": "press-7", "primaryKey": KEY, "tags": {"hall": 3}, "desired": {"interval": 5}}
    off = {"deviceId": "off", "status": "disabled"}
    hub = new_hub("--seed", str(seed_file(tmp_path, devices=[device, off], routes=routes)))
    ready = hub.start()
    trust(ready)
    assert set(ready["device_connection_strings"]) == {"press-7", "off", "thermistor-1"}
    assert parse(ready["device_connection_strings"]["press-7"])["SharedAccessKey"] == KEY
    registry = IoTHubRegistryManager.from_connection_string(ready["hub_connection_string"])
    twin = registry.get_twin("press-7")
    assert twin.tags == {"hall": 3} and twin.properties.desired["interval"] == 5
    assert registry.get_device("off").status == "disabled"

    # No route wants alert=false: such messages are for the fallback route, which leads to events as well.
    sent = [(0, {}), (1, {"alert": "true"}), (2, {}), (3, {"alert": "false"}), (4, {}), (5, {"alert": "true"})]
    for number, properties in sent:
        rest.send(ready, "press-7", {"number": number}, **properties)
    got = events.read(ready, lambda got: got and got[-1][1].body_as_json() == {"number": 5})
    assert [event.body_as_json()["number"] for _, event in got] == [1, 3, 5]

    service = BlobServiceClient.from_connection_string(ready["blob_connection_string"])

    def stored():
        client = service.get_container_client("telemetry-json")
        lines = b"".join(client.download_blob(name).readall() for name in client.list_blob_names()).splitlines()
        numbers = [json.loads(line)["Body"]["number"] for line in lines]
        return numbers if len(numbers) >= 3 else None

    assert eventually(stored, what="messages in blobs") == [0, 2, 4]
    assert not list(service.get_container_client("telemetry-avro").list_blob_names())

    # Seeding again changes nothing that is there.
    registry.update_twin("press-7", Twin(properties=TwinProperties(desired={"interval": 60})), "*")
    hub.stop()
    hub.start()
    assert registry.get_twin("press-7").properties.desired["interval"] == 60
    hub.stop()


@pytest.mark.parametrize(
    "text, says",
    [
        ('{\n  "devices": [\n    {"deviceId": "a", "colour": "red"}\n  ]\n}', ["line 3, column 30", "colour"]),
        ('{"devices": [}', ["line 1, column 14"]),
        ('{"devices": [{"deviceId": "a", "desired": {"$bad": 1}}]}', ["'a'"]),
        ('{"routes": [{"name": "r", "condition": "alert = ", "endpoints": ["events"]}]}', ["route r:", "column 9"]),
    ],
    ids=["unknown", "syntax", "value", "route"],
)
def test_a_wrong_seed_file_is_told(tmp_path, text, says):
    path = tmp_path / "seed.json"
    path.write_text(text)
    _, err = command.run("dev", "--data-dir", tmp_path / "data", "--seed", path, status=USAGE)
    for words in says:
        assert words in err, err


def test_a_seed_file_that_is_not_there_is_told(tmp_path):
    _, err = command.run("dev", "--data-dir", tmp_path / "data", "--seed", tmp_path / "nowhere", status=USAGE)
    assert f"{tmp_path / 'nowhere'}: No such file" in err
    assert not (tmp_path / "data").exists()


def reset(folder, *arguments, status):
    return command.run("dev", "reset", "--data-dir", folder, *arguments, status=status)[1]


def test_a_running_hub_is_neither_doubled_nor_wiped(new_hub, tmp_path):
    hub = new_hub()
    data = hub.start()["data_dir"]
    _, err = command.run("dev", "--data-dir", data, status=FAILED)
    assert f"{data} is in use by another ironbrook" in err
    _, err = command.run("dev", "--data-dir", tmp_path / "other", status=FAILED)
    assert "8883" in err and "in use" in err
    assert "in use" in reset(data, "--yes", status=FAILED)
    rest.send(hub.ready, "thermistor-1", {"temperature": 20})
    hub.stop()


def test_reset_asks_first(new_hub, tmp_path):
    hub = new_hub()
    data = pathlib.Path(hub.start()["data_dir"])
    hub.stop()
    content = sorted(data.rglob("*"))
    assert "--yes" in reset(data, status=FAILED)
    assert answer(data, b"n\n") == FAILED
    assert sorted(data.rglob("*")) == content
    assert answer(data, b"y\n") == 0
    assert not data.exists()

    hub.start()
    hub.stop()
    assert "removed" in reset(data, "--yes", status=0)
    assert not data.exists()


def answer(data, text):
    """The exit code of a reset that is answered on a terminal."""
    terminal, other_side = pty.openpty()
    try:
        asking = [os.environ["IRONBROOK_BIN"], "dev", "reset", "--data-dir", str(data)]
        with subprocess.Popen(asking, stdin=other_side, stderr=subprocess.PIPE, env=command.environment()) as process:
            asked = b""
            while not asked.endswith(b"[y/N] "):
                more = process.stderr.read1()
                assert more, asked
                asked += more
            assert str(data).encode() in asked
            os.write(terminal, text)
            process.stderr.read()
            return process.wait(STOPPED_WITHIN)
    finally:
        os.close(terminal)
        os.close(other_side)


def test_reset_leaves_what_is_not_ours(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    assert "no data folder" in reset(tmp_path, "--yes", status=FAILED)
    assert "no data folder" in reset(tmp_path / "nowhere", "--yes", status=FAILED)
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"
    assert not (tmp_path / "nowhere").exists()
