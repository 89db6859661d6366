"""Routing from a configuration: a web hook, mosquitto, a folder and a second hub get what one hub is sent; and the commands that tell."""

import hashlib
import hmac
import io
import json
import socket
import subprocess
import sys

import boto3
import fastavro
import pytest
import requests

import command
from ironbrook import Dev, eventually, parse
from mosquitto import Mosquitto
from raw import own_token
from receiver import Receiver

# The tests run in a network namespace of their own.
BROKER = 18850
S3 = 18851
CENTRAL_AMQP = 25671
KEY, TOKEN = "canary-signing-key", "Bearer canary-token"
SEED = {"devices": [{"deviceId": "pump", "tags": {"site": "north"}}, {"deviceId": "fan", "tags": {"site": "south"}}]}
CENTRAL_SEED = {"devices": [{"deviceId": "plant"}]}

# The second hub: everything on other ports.
CENTRAL = f"""
[hub]
name = "central"

[listen]
mqtt = "127.0.0.1:28883"
https = "127.0.0.1:20443"
https_fallback = "127.0.0.1:28443"
amqp = "127.0.0.1:{CENTRAL_AMQP}"
amqp_plain = "127.0.0.1:25672"
portal = "127.0.0.1:28080"
blob = "127.0.0.1:20000"
"""

CONFIG = """
[routing]
dev_routes = false

[[routing.endpoints]]
type = "storage"
name = "files"
container = "telemetry"
encoding = "json"
batch_seconds = 0.2
folder = "FOLDER/files"

[[routing.endpoints]]
type = "storage"
name = "bucket"
container = "telemetry"
encoding = "avro"
batch_seconds = 0.2
s3 = { endpoint = "http://127.0.0.1:S3", access_key_id = "id", secret_access_key_file = "FOLDER/s3", allow_http = true }

[[routing.endpoints]]
type = "webhook"
name = "hook"
url = "HOOK"
authorization_file = "FOLDER/token"
signing_key_file = "FOLDER/key"

[[routing.endpoints]]
type = "mqtt"
name = "broker"
url = "mqtt://127.0.0.1:BROKER"
topic = "plant/{device}/{property:line}"
retain = true

[[routing.endpoints]]
type = "event-hub"
name = "central"
connection_string_file = "FOLDER/central"
ca_file = "CA"

[[routing.routes]]
name = "north"
condition = "$twin.tags.site = 'north' AND $body.t >= 0"
endpoints = ["files", "bucket", "hook", "broker", "central"]

[[routing.enrichments]]
key = "site"
value = "$twin.tags.site"
endpoints = ["hook", "events"]
"""


@pytest.fixture(scope="module")
def central(tmp_path_factory):
    """Another hub, which the first one sends to as a device."""
    folder = tmp_path_factory.mktemp("central")
    config, seed = folder / "central.toml", folder / "seed.json"
    config.write_text(CENTRAL)
    seed.write_text(json.dumps(CENTRAL_SEED))
    hub = Dev(folder, "--config", config, "--seed", seed, "--no-thermistor", "--no-edge")
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def s3():
    """A client of a server that speaks S3, with a bucket."""
    server = [sys.executable, "-m", "moto.server", "-p", str(S3)]
    process = subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens():
        try:
            socket.create_connection(("127.0.0.1", S3), 1).close()
            return True
        except OSError:
            return False

    try:
        eventually(listens, what="the S3 server listens")
        keys = {"aws_access_key_id": "id", "aws_secret_access_key": "canary-s3", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{S3}", **keys)
        client.create_bucket(Bucket="telemetry")
        yield client
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def world(tmp_path_factory, central, s3):
    """A hub with all endpoints: (hub, receiver, folder)."""
    folder = tmp_path_factory.mktemp("routing")
    key = parse(central.ready["device_connection_strings"]["plant"])["SharedAccessKey"]
    (folder / "key").write_text(KEY + "\n")
    (folder / "s3").write_text("canary-s3\n")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "central").write_text(f"HostName=localhost:{CENTRAL_AMQP};DeviceId=plant;SharedAccessKey={key}\n")
    seed = folder / "seed.json"
    seed.write_text(json.dumps(SEED))
    with Receiver() as receiver, Mosquitto(folder / "mosquitto", port=BROKER):
        config = CONFIG.replace("FOLDER", str(folder)).replace("HOOK", receiver.url).replace(":S3", f":{S3}")
        config = config.replace("BROKER", str(BROKER)).replace("CA", central.ready["ca_file"])
        (folder / "hub.toml").write_text(config)
        hub = Dev(folder, "--config", folder / "hub.toml", "--seed", seed, "--no-thermistor", "--no-edge")
        hub.start()
        yield hub, receiver, folder
        hub.stop()


def send(hub, device, message_id, body, **properties):
    """One JSON message over HTTPS, acknowledged."""
    connection_string = hub.ready["device_connection_strings"][device]
    headers = {
        "Authorization": own_token(hub.ready, connection_string),
        "iothub-messageid": message_id,
        "iothub-contenttype": "application/json",
        "iothub-contentencoding": "utf-8",
        **{f"iothub-app-{name}": value for name, value in properties.items()},
    }
    url = f"https://{parse(connection_string)['HostName']}/devices/{device}/messages/events?api-version=2021-04-12"
    answer = requests.post(url, json=body, headers=headers, verify=hub.ready["ca_file"], timeout=20)
    assert answer.status_code == 204, answer.text


def told(hub, *arguments):
    """What a command says of the hub, as JSON."""
    out, _ = command.run(*arguments, "--data-dir", hub.data_dir, "--output", "json")
    return json.loads(out)


def fate(hub, message_id, *endpoints):
    """What became of a message, once these endpoints have it."""

    def delivered():
        out = told(hub, "why", message_id)["messages"][0]
        by_name = {endpoint["endpoint"]: endpoint for endpoint in out["endpoints"]}
        return by_name if all(by_name[name]["outcome"] == "delivered" for name in endpoints) else None

    return eventually(delivered, what=f"{message_id} at {endpoints}")


def test_a_message_reaches_every_endpoint_of_its_route_and_no_other(world, central, s3):
    hub, receiver, folder = world
    send(hub, "pump", "m1", {"t": 1}, line="7")
    send(hub, "fan", "m2", {"t": 1}, line="7")
    by_name = fate(hub, "m1", "files", "bucket", "hook", "broker", "central")

    (message,) = [message for message in receiver.messages() if message["SystemProperties"]["messageId"] == "m1"]
    assert (message["Body"], message["Properties"]) == ({"t": 1}, {"line": "7", "site": "north"})
    headers, body = receiver.requests[0]
    assert headers["authorization"] == TOKEN
    time, signature = headers["ironbrook-signature"].removeprefix("t=").split(",v1=")
    assert hmac.new(KEY.encode(), time.encode() + b"." + body, hashlib.sha256).hexdigest() == signature

    published, _ = command.run(
        "mqtt", "sub", "--url", f"mqtt://127.0.0.1:{BROKER}", "--topic", "plant/#", "--count", "1", "--timeout", "60s",
        "--output", "json",
    )
    published = json.loads(published)
    assert (published["topic"], json.loads(published["payload"])) == ("plant/pump/7", {"t": 1})
    assert ["line", "7"] in published["properties"]["user"]

    file = folder / "files" / by_name["files"]["place"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["SystemProperties"]["messageId"] for line in lines] == ["m1"]
    assert lines[0]["Properties"] == {"line": "7"}, "enriched for the web hook only"

    container, name = by_name["bucket"]["place"].split("/", 1)
    stored = s3.get_object(Bucket=container, Key=name)["Body"]
    (record,) = fastavro.reader(io.BytesIO(stored.read()))
    assert (record["SystemProperties"]["messageId"], record["Body"]) == ("m1", b'{"t": 1}')

    out, _ = command.run(
        "messages", "monitor", "--data-dir", central.data_dir, "--from", "earliest", "--count", "1", "--output", "json"
    )
    event = json.loads(out)
    assert "originDeviceId" in json.dumps(event) and "pump" in json.dumps(event)

    # The other device is on the other site: the fallback route has its message, enriched when it is read.
    other = told(hub, "why", "m2")["messages"][0]
    assert [endpoint["endpoint"] for endpoint in other["endpoints"]] == ["events"]
    assert other["routes"][0]["reasons"][0]["reason"] == '$twin.tags.site is "south"'
    out, _ = command.run(
        "messages", "monitor", "--data-dir", hub.data_dir, "--from", "earliest", "--count", "1", "--output", "json"
    )
    assert '"site":"south"' in out.replace(" ", ""), out


def test_an_endpoint_that_is_down_is_told_and_gets_all_afterwards(world):
    hub, receiver, _ = world
    health = lambda: {endpoint["endpointId"]: endpoint for endpoint in told(hub, "route", "health")["value"]}
    receiver.status = 503
    send(hub, "pump", "down-1", {"t": 2}, line="8")
    eventually(lambda: health()["hook"]["healthStatus"] == "unhealthy", what="the web hook is down")
    assert health()["files"]["healthStatus"] == "healthy"
    assert "HTTP 503" in health()["hook"]["lastKnownError"]
    waiting = told(hub, "why", "down-1")["messages"][0]["endpoints"]
    (waiting,) = [endpoint for endpoint in waiting if endpoint["endpoint"] == "hook"]
    assert waiting["outcome"] == "waiting" and "HTTP 503" in waiting["why"]
    receiver.status = 200
    by_name = fate(hub, "down-1", "hook")
    assert by_name["hook"]["attempts"] > 1 and "HTTP 503" in by_name["hook"]["lastFailure"]
    assert health()["hook"]["healthStatus"] == "healthy"

    receiver.status = 403
    send(hub, "pump", "refused-1", {"t": 3}, line="8")

    def dead():
        endpoints = told(hub, "why", "refused-1")["messages"][0]["endpoints"]
        return [endpoint for endpoint in endpoints if endpoint["outcome"] == "deadLettered"]

    (letter,) = eventually(dead, what="a dead letter")
    receiver.status = 200
    assert letter["endpoint"] == "hook" and "403" in letter["why"]
    assert health()["hook"]["deadLettered"] == 1


def test_a_message_can_be_tried_before_it_is_sent(world):
    hub, _, _ = world
    out, _ = command.run("route", "test", "--data-dir", hub.data_dir, "--device", "pump", "--body", '{"t": -1}')
    assert "false: $body.t >= 0 ($body.t is -1)" in out
    assert "the message goes to events by the fallback route" in out
    tried = told(hub, "route", "test", "--device", "pump", "--body", '{"t": 1}')
    assert tried["endpoints"] == ["files", "bucket", "hook", "broker", "central"]
    tried = told(hub, "route", "test", "--condition", "level = ")
    assert tried["details"]["compilationErrors"][0]["location"]["start"] == {"line": 1, "column": 9}
    out, _ = command.run("route", "list", "--data-dir", hub.data_dir)
    assert out.splitlines()[0].split() == ["NAME", "SOURCE", "CONDITION", "ENDPOINTS", "ENABLED"]
    _, err = command.run("why", "nobody-sent-this", "--data-dir", hub.data_dir, status=command.FAILED)
    assert "nobody-sent-this" in err
    log = hub.log()
    assert "canary" not in log
