"""The device program's network part against the hub, with the stock umqtt.simple."""

import json
import os
import pathlib
import queue
import re
import signal
import ssl
import subprocess
import sys
import threading

import pytest
from azure.iot.hub import IoTHubRegistryManager

import events
from ironbrook import parse

HERE = pathlib.Path(__file__).parent


class Program:
    """The program as a process, its lines as they come."""

    def __init__(self, folder, config, **env):
        path = folder / "config.json"
        path.write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(HERE / "run_program.py"), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **env},
        )
        self.lines = []
        self.new = queue.Queue()
        threading.Thread(target=self.collect, daemon=True).start()

    def collect(self):
        for line in self.process.stdout:
            self.lines.append(line)
            self.new.put(line)

    def until(self, text, timeout=60):
        """Waits for a line that holds the text; gives it."""
        while True:
            try:
                line = self.new.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f"no line with {text!r} in:\n{''.join(self.lines)}") from None
            if text in line:
                return line

    def finished(self):
        assert self.process.wait(60) == 0, "".join(self.lines)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
        self.process.stdout.close()


@pytest.fixture
def device(dev, request):
    """(id, connection string) of a device for this test alone."""
    registry = IoTHubRegistryManager.from_connection_string(dev["hub_connection_string"])
    name = re.sub("[^a-z]+", "-", request.node.name).strip("-")
    made = registry.create_device_with_sas(name, "", "", "enabled")
    host = parse(dev["hub_connection_string"])["HostName"]
    return name, f"HostName={host};DeviceId={name};SharedAccessKey={made.authentication.symmetric_key.primary_key}"


@pytest.fixture
def start(dev, device, tmp_path):
    """Starts the program with some settings; it is stopped at the end of the test."""
    programs = []

    def start(env={}, **settings):
        config = {"connection_string": device[1], "ca_file": dev["ca_file"], "interval": 0.2, **settings}
        programs.append(Program(tmp_path, config, **env))
        return programs[-1]

    yield start
    for program in programs:
        program.stop()


def telemetry(dev, name, count):
    got = events.read(dev, lambda got: len(events.of_device(got, name)) >= count)
    return events.of_device(got, name)


def test_telemetry(dev, device, start):
    start(count=3).finished()
    got = telemetry(dev, device[0], 3)
    bodies = [event.body_as_json() for event in got]
    assert [body["sequence"] for body in bodies] == [1, 2, 3]
    for body in bodies:
        assert sorted(body) == ["adc", "resistance", "sequence", "temperature", "timeCreated"]
        assert 19 < body["temperature"] < 24
    assert got[0].content_type == "application/json"


@pytest.mark.parametrize("fault", ["open", "short"])
def test_fault(dev, device, start, fault):
    start(count=1, simulation={"fault": fault}).finished()
    (event,) = telemetry(dev, device[0], 1)
    assert event.body_as_json()["fault"] == fault and "temperature" not in event.body_as_json()
    assert event.properties == {b"fault": fault.encode()}


def test_message_changes_the_interval(dev, device, start):
    registry = IoTHubRegistryManager.from_connection_string(dev["hub_connection_string"])
    program = start(interval=3600)
    program.until("sent")
    registry.send_c2d_message(device[0], json.dumps({"interval": "often"}))
    program.until("ignored")
    registry.send_c2d_message(device[0], "not JSON")
    program.until("not JSON")
    registry.send_c2d_message(device[0], json.dumps({"interval": 0.2}))
    program.until("interval is now 0.2")
    for _ in range(3):
        program.until("sent")


def test_token_renewal(dev, device, start):
    # The clock runs 60 times as fast: a token of 120 s lasts two.
    program = start(env={"CLOCK_RATE": "60"}, token_lifetime=120)
    for _ in range(3):
        program.until("token renewal")
        program.until("sent")
    assert not [line for line in program.lines if "refused" in line]
    sequence = [event.body_as_json()["sequence"] for event in telemetry(dev, device[0], 5)]
    assert sequence == list(range(1, len(sequence) + 1))


def test_readings_of_an_outage_are_sent_afterwards(hub, device, start):
    program = start()
    for _ in range(3):
        program.until("sent")
    hub.kill()
    program.until("connection")
    hub.start()
    program.until("connected to")
    for _ in range(5):
        program.until("sent")
    got = telemetry(hub.ready, device[0], 8)
    sequence = [event.body_as_json()["sequence"] for event in got]
    # A reading whose acknowledgement was lost comes again; none is missing and none overtakes another.
    assert sorted(set(sequence)) == list(range(1, max(sequence) + 1))
    assert sequence == sorted(sequence)


def test_wrong_key_is_said_and_tried_again_later(device, start):
    key = parse(device[1])["SharedAccessKey"]
    program = start(connection_string=device[1].replace(key, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="))
    assert "code 5" in program.until("refused")
    assert "next try in" in program.until("refused")


def test_unknown_ca_is_refused(device, start, tmp_path):
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=another authority", "-keyout", str(tmp_path / "key.pem"), "-out", str(other)],
        check=True,
        capture_output=True,
    )
    program = start(ca_file=str(other))
    assert "certificate verify failed" in program.until("no connection")
    assert not [line for line in program.lines if "sent" in line]


def test_tls_context_verifies_authority_and_name(dev, hub):
    # What newer releases of umqtt.simple are given instead of parameters.
    import socket

    sys.path.insert(0, str(HERE.parents[1] / "device" / "pico-w"))
    sys.path.insert(0, os.environ["UMQTT_PATH"])
    import shims

    shims.install()
    from hub import Tls, pem_to_der

    ca = pem_to_der(pathlib.Path(dev["ca_file"]).read_bytes())

    def connect(tls):
        with socket.create_connection(("localhost", 8883), timeout=20) as raw, tls.wrap_socket(raw) as wrapped:
            return wrapped.version()

    assert connect(Tls(ca, "localhost")) in ("TLSv1.2", "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError, match="(?i)hostname"):
        connect(Tls(ca, "another.example"))
