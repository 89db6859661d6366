"""`ironbrook mqtt` against mosquitto and our own broker: what it publishes, prints, measures and returns."""

import base64
import json
import os
import signal
import subprocess

import pytest

import command
from command import FAILED, USAGE
from ironbrook import STOPPED_WITHIN, Dev, eventually
from mosquitto import Mosquitto

TIMED_OUT = 3
# The tests run in a network namespace of their own.
PORT = 18830
SECURE_PORT = 18831
OUR_PORT = 18832
PASSWORD = "canary word"


@pytest.fixture(scope="module", params=["mosquitto", "ironbrook"])
def at(tmp_path_factory, request):
    """The option by which a command finds a broker that lets everybody in."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "mosquitto":
        with Mosquitto(folder, port=PORT):
            yield ["--url", f"mqtt://127.0.0.1:{PORT}"]
        return
    ours = ["--mqtt-topics", f"127.0.0.1:{OUR_PORT}", "--mqtt-anonymous"]
    hub = Dev(folder, *ours, "--no-thermistor", "--no-edge")
    hub.start()
    yield ["--url", f"mqtt://127.0.0.1:{OUR_PORT}"]
    hub.stop()


class Sub:
    """`ironbrook mqtt sub` beside the test; it is subscribed when this is made."""

    def __init__(self, at, folder, *arguments):
        # Its own mark: what is published before it comes would be lost.
        self.out = folder / f"sub-{len(list(folder.iterdir()))}.txt"
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                [os.environ["IRONBROOK_BIN"], "mqtt", "sub", *at, *map(str, arguments), "--topic", "mark"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                env=command.environment(),
            )

        def marked():
            command.run("mqtt", "pub", *at, "--topic", "mark", "--message", "mark")
            return b"mark" in self.out.read_bytes()

        eventually(marked, what="the subscriber is there")

    def lines(self, count):
        """So many lines beside the marks, once they are there."""

        def come():
            lines = [line for line in self.out.read_bytes().split(b"\n")[:-1] if b"mark" not in line]
            return lines if len(lines) >= count else None

        return eventually(come, what=f"{count} lines")

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(STOPPED_WITHIN)
        self.process.stderr.close()
        return status


@pytest.fixture
def sub(at, tmp_path):
    subs = []

    def make(*arguments, at=at):
        subs.append(Sub(at, tmp_path, *arguments))
        return subs[-1]

    yield make
    for sub in subs:
        if sub.process.poll() is None:
            sub.process.kill()
            sub.process.wait(STOPPED_WITHIN)


@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_comes_out_as_it_went_in(at, sub, version, qos):
    spoken = [*at, "--mqtt-version", version]
    listener = sub("--topic", f"in/{qos}/#", "--qos", qos, "--output", "json", at=spoken)
    command.run("mqtt", "pub", *spoken, "--topic", f"in/{qos}/a", "--message", "-5 °C", "--qos", qos)
    (line,) = listener.lines(1)
    message = json.loads(line)
    assert (message["topic"], message["payload"], message["qos"]) == (f"in/{qos}/a", "-5 °C", qos)
    assert (message["retain"], message["properties"]) == (False, {})
    assert listener.stop() == 0


def test_files_and_lines_are_published_as_they_are(at, sub, tmp_path):
    listener = sub("--topic", "raw", "--qos", "1", "--output", "json")
    path = tmp_path / "raw.bin"
    path.write_bytes(bytes(range(256)))
    command.run("mqtt", "pub", *at, "--topic", "raw", "--file", path, "--qos", "1")
    published = subprocess.run(
        [os.environ["IRONBROOK_BIN"], "mqtt", "pub", *at, "--topic", "raw", "--qos", "1", "--stdin-lines"],
        input=b"".join(b"line %d\r\n" % n for n in range(2000)) + b"last without an end",
        capture_output=True,
        timeout=command.COMMAND_WITHIN,
        env=command.environment(),
    )
    assert (published.returncode, published.stdout) == (0, b""), published.stderr
    first, *lines = [json.loads(line)["payload"] for line in listener.lines(2002)]
    assert base64.b64decode(first["base64"]) == bytes(range(256))
    assert lines == [*(f"line {n}" for n in range(2000)), "last without an end"]


def test_properties_travel_in_both_directions(at, sub):
    listener = sub("--topic", "p", "--output", "json")
    plain = sub("--topic", "p", "--verbose")
    properties = ["--user-property", "a=1", "--user-property", "a=2=2", "--expiry", "600", "--content-type", "text/plain"]
    answer = ["--response-topic", "answers/1", "--correlation", "c1"]
    command.run("mqtt", "pub", *at, "--topic", "p", "--message", "x", *properties, *answer)
    (line,) = listener.lines(1)
    shown = json.loads(line)["properties"]
    assert 590 <= shown.pop("expiry") <= 600
    assert shown == {
        "content_type": "text/plain",
        "response_topic": "answers/1",
        "correlation": "c1",
        "user": [["a", "1"], ["a", "2=2"]],
    }
    assert b"    content_type = text/plain" in plain.lines(5) and plain.lines(5)[0] == b"p x"


def test_retained_messages_are_kept_left_out_and_taken_away(at):
    command.run("mqtt", "pub", *at, "--topic", "kept/1", "--message", "21.5", "--retain", "--qos", "1")
    sub = ["mqtt", "sub", *at, "--topic", "kept/+"]
    out, _ = command.run(*sub, "--count", "1", "--verbose")
    assert out == "kept/1 21.5\n"
    for version in ["5.0", "3.1.1"]:
        command.run(*sub, "--no-retained", "--count", "1", "--timeout", "1s", "--mqtt-version", version, status=TIMED_OUT)
    command.run("mqtt", "pub", *at, "--topic", "kept/1", "--message", "", "--retain", "--qos", "1")
    out, _ = command.run(*sub, "--timeout", "1s")
    assert out == "", "without a count the end of the time is no failure"


def test_a_session_keeps_messages_while_its_client_is_away(at):
    session = ["mqtt", "sub", *at, "--topic", "away", "--qos", "1", "--client-id", "away", "--session-expiry", "1h"]
    command.run(*session, "--timeout", "500ms")
    for text in ["one", "two"]:
        command.run("mqtt", "pub", *at, "--topic", "away", "--message", text, "--qos", "1")
    out, _ = command.run(*session, "--count", "1")
    assert out == "one\n"
    out, _ = command.run(*session, "--count", "1")
    assert out == "two\n", "what was not printed was not acknowledged"


def test_a_subscriber_comes_back_with_the_broker(tmp_path):
    with Mosquitto(tmp_path / "broker", port=PORT + 5) as broker:
        at = ["--url", f"mqtt://127.0.0.1:{broker.port}"]
        listener = Sub(at, tmp_path, "--topic", "back")
        broker.kill()
        broker.start()

        def heard():
            command.run("mqtt", "pub", *at, "--topic", "back", "--message", "again")
            return b"again" in listener.out.read_bytes()

        eventually(heard, what="a message after the broker came back")
        assert listener.stop() == 0


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)


def test_tls_and_passwords(tmp_path):
    openssl(tmp_path, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    openssl(tmp_path, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "request.pem", "-subj", "/CN=localhost")
    (tmp_path / "names").write_text("subjectAltName=DNS:localhost")
    signed = ["-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
    openssl(tmp_path, "x509", "-req", *signed, "-out", "cert.pem")
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(users), "line 7", PASSWORD], check=True, timeout=60)
    password = tmp_path / "password"
    password.write_text(PASSWORD + "\n")
    files = [f"{option} {tmp_path / name}" for option, name in [("certfile", "cert.pem"), ("keyfile", "key.pem")]]
    with Mosquitto(tmp_path / "broker", *files, f"password_file {users}", "allow_anonymous false", port=SECURE_PORT):
        server = f"localhost:{SECURE_PORT}"
        pub = ["mqtt", "pub", "--topic", "t", "--message", "x", "--qos", "1"]
        at, ca = ["--url", f"mqtts://line%207@{server}"], ["--ca", tmp_path / "ca.pem"]
        for version in ["5.0", "3.1.1"]:
            command.run(*pub, *at, *ca, "--password-file", password, "--mqtt-version", version)
            command.run(*pub, *at, *ca, "--mqtt-version", version, IRONBROOK_MQTT_PASSWORD=PASSWORD)
        _, wrong = command.run(*pub, *at, *ca, IRONBROOK_MQTT_PASSWORD="wrong", status=FAILED)
        assert "check the user name" in wrong and "wrong" not in wrong.replace("wrong usage", ""), wrong
        _, untrusted = command.run(*pub, *at, "--password-file", password, status=FAILED)
        assert "check the CA file" in untrusted, untrusted


def test_what_goes_wrong_names_its_cure_and_has_its_code(at):
    pub = ["mqtt", "pub", "--topic", "t", "--message", "x"]
    _, refused = command.run(*pub, "--url", "mqtt://127.0.0.1:1", status=FAILED)
    assert "127.0.0.1:1" in refused
    _, leaked = command.run(*pub, "--url", "mqtt://u:canary@127.0.0.1", status=USAGE)
    assert "canary" not in leaked and "password" in leaked
    _, filter_fault = command.run("mqtt", "sub", *at, "--topic", "a/#/b", status=USAGE)
    assert "a/#/b" in filter_fault
    command.run("mqtt", "pub", *at, "--topic", "t/#", "--message", "x", status=USAGE)
    command.run("mqtt", "pub", *at, "--topic", "t", status=USAGE)
    old = ["--mqtt-version", "3.1.1", "--user-property", "a=b"]
    _, too_old = command.run(*pub, *at, *old, status=USAGE)
    assert "MQTT 5.0" in too_old


@pytest.mark.parametrize("scenario", ["ingest", "fan-in", "fan-out"])
@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_bench_counts_every_message_and_tells_times(at, scenario, version):
    size = ["--clients", "4", "--messages", "1000", "--size", "64", "--in-flight", "10", "--mqtt-version", version]
    out, _ = command.run("mqtt", "bench", *at, scenario, *size, "--output", "json")
    report = json.loads(out)
    assert (report["messages"], report["lost"]) == (4000 if scenario == "fan-out" else 1000, 0)
    latency = report["latency_us"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
    assert report["messages_per_second"] > 0


def test_bench_for_people_is_three_lines(at):
    out, _ = command.run("mqtt", "bench", *at, "ingest", "--clients", "2", "--messages", "100", "--qos", "0")
    first, second, third = out.splitlines()
    assert first == "ingest: 2 clients, QoS 0, 256 bytes"
    assert second.startswith("100 messages in ") and second.endswith(" 0 lost")
    assert third.startswith("published to sent: p50 ")
