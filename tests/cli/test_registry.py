"""The commands for the registry, with the nouns of `az iot hub`, against a hub that runs."""

import json

import pytest

import command
from ironbrook import eventually, parse


@pytest.fixture(scope="module")
def at(dev):
    """The option by which a command finds the hub."""
    return ["--data-dir", dev["data_dir"]]


@pytest.fixture(scope="module")
def ask(at):
    """Runs a command and gives the JSON values it printed."""

    def ask(*words):
        out, _ = command.run(*words, *at, "--output", "json")
        return [json.loads(line) for line in out.splitlines()]

    return ask


def test_life_of_a_device_and_its_module(ask, at):
    (made,) = ask("device-identity", "create", "--device-id", "cli-1")
    assert (made["deviceId"], made["status"]) == ("cli-1", "enabled")
    (changed,) = ask("device-identity", "update", "-d", "cli-1", "--status", "disabled", "--status-reason", "why")
    assert (changed["status"], changed["statusReason"]) == ("disabled", "why")
    assert changed["authentication"] == made["authentication"]
    (renewed,) = ask("device-identity", "renew-key", "-d", "cli-1", "--key-type", "primary")
    old, new = made["authentication"]["symmetricKey"], renewed["authentication"]["symmetricKey"]
    assert old["primaryKey"] != new["primaryKey"] and old["secondaryKey"] == new["secondaryKey"]
    (told,) = ask("device-identity", "connection-string", "-d", "cli-1")
    assert parse(told["connectionString"])["SharedAccessKey"] == new["primaryKey"]

    ask("module-identity", "create", "-d", "cli-1", "-m", "m1")
    assert [module["moduleId"] for module in ask("module-identity", "list", "-d", "cli-1")] == ["m1"]
    ask("module-identity", "delete", "-d", "cli-1", "-m", "m1")
    table, _ = command.run("device-identity", *at, "list")
    head, *rows = table.splitlines()
    assert head.startswith("DEVICE ID") and any(row.split()[:2] == ["cli-1", "disabled"] for row in rows)
    ask("device-identity", "delete", "-d", "cli-1")
    _, told = command.run("device-identity", *at, "show", "-d", "cli-1", status=1)
    assert "DeviceNotFound" in told


def test_twins_queries_and_jobs(ask):
    for name in ("cli-a", "cli-b"):
        ask("device-identity", "create", "-d", name)
        ask("device-twin", "update", "-d", name, "--tags", '{"cli": true}', "--desired", '{"x": 1}')
    assert [row["deviceId"] for row in ask("query", "SELECT deviceId FROM devices WHERE tags.cli = true")] == ["cli-a", "cli-b"]
    assert ask("query", "SELECT COUNT() AS n FROM devices WHERE tags.cli = true") == [{"n": 2}]
    assert len(ask("query", "--top", "1", "SELECT * FROM devices WHERE tags.cli = true")) == 1

    patch = '{"tags": {"done": true}}'
    ask("job", "create", "--job-id", "cli-job", "--job-type", "scheduleUpdateTwin",
        "-q", "tags.cli = true", "--twin-patch", patch)
    eventually(lambda: ask("job", "show", "--job-id", "cli-job")[0]["status"] == "completed", what="the job")
    assert [record["status"] for record in ask("job", "devices", "--job-id", "cli-job")] == ["completed"] * 2
    assert "cli-job" in [job["jobId"] for job in ask("job", "list", "--job-status", "completed")]
    (twin,) = ask("device-twin", "show", "-d", "cli-a")
    assert twin["tags"] == {"cli": True, "done": True}
    (twin,) = ask("device-twin", "replace", "-d", "cli-a", "--tags", '{"only": 1}')
    assert twin["tags"] == {"only": 1}


def test_configurations(ask, tmp_path):
    content = tmp_path / "content.json"
    content.write_text(json.dumps({"content": {"deviceContent": {"properties.desired.c": {"on": True}}}}))
    ask("device-identity", "create", "-d", "cli-c")
    ask("configuration", "create", "--config-id", "cli-c", "--content", content, "--target-condition", "deviceId = 'cli-c'",
        "--priority", "3")
    eventually(lambda: ask("device-twin", "show", "-d", "cli-c")[0]["properties"]["desired"].get("c") == {"on": True},
               what="the configuration in the twin")
    (changed,) = ask("configuration", "update", "--config-id", "cli-c", "--priority", "4")
    assert changed["priority"] == 4
    assert "cli-c" in [one["id"] for one in ask("configuration", "list")]
    ask("configuration", "delete", "--config-id", "cli-c")


def test_identities_are_written_out_and_brought_in(ask, at, tmp_path):
    (made,) = ask("device-identity", "create", "-d", "cli-out")
    ask("device-twin", "update", "-d", "cli-out", "--tags", '{"kept": true}')
    ask("module-identity", "create", "-d", "cli-out", "-m", "m")
    file = tmp_path / "devices.txt"
    command.run("export", *at, file)
    assert file.stat().st_mode & 0o077 == 0, "it holds keys"
    ask("device-identity", "delete", "-d", "cli-out")
    command.run("import", *at, file)
    (again,) = ask("device-identity", "show", "-d", "cli-out")
    assert again["authentication"] == made["authentication"]
    assert ask("device-twin", "show", "-d", "cli-out")[0]["tags"] == {"kept": True}
    assert [module["moduleId"] for module in ask("module-identity", "list", "-d", "cli-out")] == ["m"]

    bad = tmp_path / "bad.txt"
    bad.write_text('{"id": "cli-out", "importMode": "create"}\n')
    _, told = command.run("import", *at, bad, status=1)
    assert "409001" in told and "1 of 1 items were refused" in told
