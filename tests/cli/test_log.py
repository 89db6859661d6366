"""`ironbrook log inspect` and `log verify`: a hub's log looked at while it is in use, afterwards, damaged, and encrypted."""

import json
import pathlib
import secrets

import pytest

import command
from ironbrook import trust

DEVICE = "thermistor-1"
READINGS = 20
ENCRYPTED = {"plain": False, "encrypted": True}


class Site:
    """A hub that has taken readings, and the options for its log."""

    def __init__(self, hub, key_file):
        self.hub = hub
        self.options = [hub.data_dir, *(["--key-file", key_file] if key_file else [])]

    def lines(self, verb, *options, status=command.DONE):
        out, _ = command.run("log", verb, *self.options, "--output", "json", *options, status=status)
        return [json.loads(line) for line in out.splitlines()]

    def readings(self, *options):
        """Records that the sensor sent, as far as that can be told."""
        records = self.lines("inspect", "--records", *options)
        return [record for record in records if record.get("system_properties", {}).get("connectionDeviceId") == DEVICE]


@pytest.fixture(params=ENCRYPTED.values(), ids=ENCRYPTED)
def site(request, new_hub, tmp_path):
    key_file = None
    hub = new_hub()
    if request.param:
        key_file = tmp_path / "log.key"
        key_file.write_text(secrets.token_hex(32) + "\n")
        hub.environment = {"IRONBROOK__LOG__ENCRYPTION_KEY_FILE": str(key_file)}
    trust(hub.start())
    sent = ["--count", READINGS, "--interval", "10ms"]
    command.run("device", "thermistor", "--data-dir", hub.data_dir, *sent)
    return Site(hub, key_file)


def test_a_log_in_use_is_looked_at(site):
    records = site.readings()
    assert len(records) == READINGS
    assert len({record["partition"] for record in records}) == 1
    assert [record["offset"] for record in records] == sorted(record["offset"] for record in records)
    assert all("events" in record["queues"] for record in records)
    last = records[-1]
    assert [last] == site.readings("--partition", last["partition"], "--from", last["offset"])
    assert site.readings("--until", records[0]["enqueued_time"]) == []
    *_, summary = site.lines("verify")
    assert summary["records"] >= READINGS and summary["findings"] == 0


def test_a_changed_byte_is_found_and_named(site):
    at = site.readings()[READINGS // 2]
    site.hub.stop()
    path = pathlib.Path(at["log"]) / at["segment"]
    content = bytearray(path.read_bytes())
    content[at["to"] - 1] ^= 1
    path.write_bytes(content)
    *findings, summary = site.lines("verify", status=command.FAILED)
    assert summary["records_lost"] == 1 and summary["findings"] == len(findings) > 0
    assert {finding["file"] for finding in findings} == {str(path)}
    assert any(finding["from"] <= at["from"] and at["to"] <= finding["to"] for finding in findings)
    # The hub leaves it out and serves all others.
    site.hub.start()
    assert len(site.readings()) == READINGS - 1


def test_content_needs_the_key(site, tmp_path):
    if len(site.options) == 1:
        body = b'"temperature":'
        assert any(body in path.read_bytes() for path in site.hub.data_dir.glob("log/*/*.log"))
        return
    assert not any(b"thermistor-1" in path.read_bytes() for path in site.hub.data_dir.glob("log/*/*.log"))
    site.options = site.options[:1]
    assert site.readings() == []
    *_, summary = site.lines("verify")
    assert summary["records_without_key"] == summary["records"] >= READINGS
    site.hub.stop()
    other = tmp_path / "other.key"
    other.write_text(secrets.token_hex(32) + "\n")
    site.hub.environment = {"IRONBROOK__LOG__ENCRYPTION_KEY_FILE": str(other)}
    with pytest.raises(RuntimeError, match="key"):
        site.hub.start()


def test_what_is_no_log_is_said(tmp_path):
    _, err = command.run("log", "verify", tmp_path, status=command.FAILED)
    assert str(tmp_path) in err
