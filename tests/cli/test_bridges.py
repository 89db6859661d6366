"""Bridges of ordinary topics, with mosquitto on the other side and with the devices of a hub."""

import json
import os
import shutil
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


# Over TLS, with a user. The authority and the certificates are made by the stock program.
SECURE = 18842
SECRET = "canary word"


def openssl(folder, *arguments):
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True, timeout=command.COMMAND_WITHIN)


def authority(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip


def certificate(folder, name, by, names):
    (folder / f"{name}.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")  # fmt: skip
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
            "-days", "2", "-out", f"{name}.pem", "-extfile", f"{name}.ext")  # fmt: skip


def passwords(folder):
    program = shutil.which("mosquitto_passwd", path=os.environ.get("PATH", "") + os.pathsep + "/usr/bin")
    subprocess.run([program, "-b", "-c", folder / "users", "line", SECRET], check=True, capture_output=True)
    return folder / "users"


class Secure:
    """mosquitto with TLS, a user and a port of its own, and a hub that bridges to it."""

    def __init__(self, folder):
        self.folder = folder
        for name in ["right", "wrong"]:
            authority(folder, name)
        certificate(folder, "server", "right", "DNS:localhost,IP:127.0.0.1")
        certificate(folder, "elsewhere", "right", "DNS:elsewhere.example")
        (folder / "password").write_text(SECRET + "\n")
        (folder / "bad password").write_text("not it\n")
        self.users = passwords(folder)

    def broker(self, certificate="server"):
        settings = ["allow_anonymous false", f"password_file {self.users}", f"certfile {self.folder}/{certificate}.pem",
                    f"keyfile {self.folder}/{certificate}.key"]  # fmt: skip
        return Mosquitto(self.folder / f"mosquitto-{certificate}", *settings, port=SECURE)

    def hub(self, ca="right", password="password", version="5.0"):
        config = self.folder / "secure.toml"
        config.write_text(
            f"""
[listen]
mqtt_topics = "127.0.0.1:{OURS}"

[topics]
anonymous = true

[[topics.bridges]]
name = "site"
url = "mqtts://line@127.0.0.1:{SECURE}"
version = "{version}"
ca_file = "{self.folder}/{ca}.pem"
password_file = "{self.folder}/{password}"
topics = [{{ filter = "#", direction = "both", local_prefix = "up/", remote_prefix = "site/" }}]
"""
        )
        return Dev(self.folder, "--config", config, "--no-thermistor", "--no-edge")

    def there(self, action, *arguments):
        url = ["--url", f"mqtts://line@127.0.0.1:{SECURE}", "--ca", self.folder / "right.pem"]
        return command.run("mqtt", action, *url, "--password-file", self.folder / "password", *arguments)


@pytest.fixture
def secure(tmp_path):
    return Secure(tmp_path)


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_a_bridge_over_tls_with_a_password_passes_messages_on(secure, version):
    with secure.broker():
        hub = secure.hub(version=version)
        hub.start()
        try:
            state("1")
            publish(HERE, "up/a", "from here", "--retain")
            got, _ = secure.there("sub", "--topic", "site/a", "--count", "1", "--timeout", "30s")
            assert got == "from here\n"
            secure.there("pub", "--topic", "site/b", "--message", "from there", "--qos", "1", "--retain")
            got, _ = command.run("mqtt", "sub", "--url", HERE, "--topic", "up/b", "--count", "1", "--timeout", "30s")
            assert got == "from there\n"
            assert SECRET not in hub.log()
        finally:
            hub.stop()


@pytest.mark.parametrize(
    ("certificate", "ca", "password", "words"),
    [
        ("server", "wrong", "password", ["certificate", "unknownissuer"]),
        ("elsewhere", "right", "password", ["certificate", "name"]),
        ("server", "right", "bad password", ["refused the connection"]),
    ],
)
def test_a_bridge_that_does_not_come_to_its_broker_says_why(secure, certificate, ca, password, words):
    with secure.broker(certificate):
        hub = secure.hub(ca=ca, password=password)
        hub.start()
        try:

            def told():
                lines = [line for line in hub.log().splitlines() if "a bridge is not connected" in line]
                return lines and lines[-1]

            line = eventually(told, what="the log tells")
            assert "site" in line and all(word in line.lower() for word in words), line
            assert SECRET not in hub.log() and "not it" not in hub.log()
            state("0")
            said, _ = command.run(
                "mqtt", "sub", "--url", HERE, "--topic", "$SYS/broker/connection/site/error", "--count", "1", "--timeout", "30s"
            )
            assert all(word in said.lower() for word in words), said
        finally:
            hub.stop()
