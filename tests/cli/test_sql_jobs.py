"""Streaming jobs: queries in the hub, from devices to blobs and a web hook, killed in the middle."""

import json
import threading

import pytest
from azure.storage.blob import BlobServiceClient

import command
from ironbrook import eventually
from raw import CONNECTED, Raw, own_token
from receiver import Receiver

WINDOW = 20
KILLS = 3
DEVICE = "thermistor-1"


def sql_job(hub, *arguments, **options):
    """A command about jobs of the hub; gives what it prints."""
    out, _ = command.run("sql", "job", *arguments, "--data-dir", hub.data_dir, "--output", "json", **options)
    return [json.loads(line) for line in out.splitlines()]


def rows(hub, container):
    """All rows in a container, read by the stock client."""
    client = BlobServiceClient.from_connection_string(hub.ready["blob_connection_string"]).get_container_client(container)
    if not client.exists():
        return []
    blobs = [client.download_blob(blob.name).readall() for blob in client.list_blobs()]
    return [json.loads(line) for blob in blobs for line in blob.splitlines()]


class Load:
    """A device that publishes numbers until its connection ends; what was acknowledged is kept."""

    def __init__(self, hub, connection_string, first):
        self.acknowledged, self.next = [], first
        self.client = Raw(hub.ready, DEVICE, own_token(hub.ready, connection_string))
        assert self.client.next() == ("connack", CONNECTED)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        under_way = {}
        while True:
            while len(under_way) < WINDOW:
                under_way[self.client.publish(f"devices/{DEVICE}/messages/events/", json.dumps({"n": self.next}))] = self.next
                self.next += 1
            what, which = self.client.next()
            if what == "closed":
                return
            self.acknowledged.append(under_way.pop(which))

    def finish(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.client.close()


def test_no_row_is_lost_or_doubled_by_kills(new_hub, tmp_path):
    hub = new_hub()
    hub.start()
    (tmp_path / "q.sql").write_text("SELECT n, IoTHub.ConnectionDeviceId AS device INTO all FROM events WHERE n >= 0")
    (tmp_path / "sum.sql").write_text("SELECT COUNT(*) AS n INTO counts FROM events WHERE n >= 0 GROUP BY TumblingWindow(second, 1)")
    (job,) = sql_job(hub, "create", "all-rows", tmp_path / "q.sql", "--to", "blob:rows/{date}", "--start")
    assert job["state"] == "Running"
    sql_job(hub, "create", "counts", tmp_path / "sum.sql", "--to", "blob:counts", "--start")
    acknowledged, first = [], 0
    for kill in range(KILLS):
        load = Load(hub, hub.ready["device_connection_strings"][DEVICE], first)
        eventually(lambda: len(load.acknowledged) > 500 and len(rows(hub, "rows")) > 200 * (kill + 1), what="events and rows")
        hub.kill()
        load.finish()
        acknowledged += load.acknowledged
        first = load.next
        hub.start()

    def all_there():
        found = [row["n"] for row in rows(hub, "rows")]
        assert len(found) == len(set(found)), "a row is doubled"
        return found if set(acknowledged) <= set(found) else None

    eventually(all_there, what="all acknowledged events as rows")

    def all_counted():
        # Each event, acknowledged or not, that became a row is in one window, and in no other.
        return sum(row["n"] for row in rows(hub, "counts")) == len(rows(hub, "rows"))

    eventually(all_counted, what="all events in windows")
    assert {row["device"] for row in rows(hub, "rows")} == {DEVICE}


def test_a_job_is_made_watched_changed_and_removed(new_hub, tmp_path):
    hub = new_hub()
    hub.start()
    (tmp_path / "q.sql").write_text("SELECT n INTO hook FROM events WHERE n >= 0")
    with Receiver() as receiver:
        receiver.status = 503
        sql_job(hub, "create", "hooked", tmp_path / "q.sql", "--to", f"webhook:{receiver.url}?code=canary", "--start")
        load = Load(hub, hub.ready["device_connection_strings"][DEVICE], 0)
        eventually(lambda: receiver.tried > 1, what="two attempts")
        (job,) = sql_job(hub, "show", "hooked")
        assert job["outputs"]["hook"]["retries"] >= 1 and "503" in job["outputs"]["hook"]["lastError"]
        assert "canary" not in json.dumps(job) and "canary" not in hub.log()
        receiver.status = 200
        eventually(lambda: len(receiver.messages()) > 300, what="rows at the receiver")
        numbers = [row["n"] for row in receiver.messages()]
        assert numbers == list(range(len(numbers)))
        (stopped,) = sql_job(hub, "stop", "hooked")
        assert (stopped["state"], stopped["isWanted"]) == ("Stopped", False)
        table, _ = command.run("sql", "job", "list", "--data-dir", hub.data_dir)
        assert table.splitlines()[0].startswith("NAME") and "hooked" in table
        hub.kill()
        load.finish()
        hub.start()
        (job,) = sql_job(hub, "show", "hooked")
        assert job["state"] == "Stopped"
        sql_job(hub, "delete", "hooked")
        assert sql_job(hub, "list") == []


@pytest.mark.parametrize(
    ("query", "to", "part"),
    [("SELECT n FRMO events", "blob:x", "did you mean FROM?"), ("SELECT n INTO a FROM e", "blob:x", None), ("SELECT n INTO a FROM e", "kafka:x", "--to")],
)
def test_what_cannot_be_meant_is_told_before_any_hub_is_asked(tmp_path, query, to, part):
    (tmp_path / "q.sql").write_text(query)
    nowhere = ["--data-dir", tmp_path / "nowhere"]
    _, err = command.run("sql", "job", "create", "one", tmp_path / "q.sql", "--to", to, *nowhere, status=command.FAILED)
    assert (part or "nowhere") in err


def test_bodies_of_csv_are_looked_up_in_a_series_of_reference_data(new_hub, tmp_path):
    hub = new_hub()
    hub.start()
    lists = BlobServiceClient.from_connection_string(hub.ready["blob_connection_string"]).get_container_client("lists")
    lists.create_container()
    lists.upload_blob("2020-01-01/names.csv", "k,name\na,old\n")
    lists.upload_blob("2020-01-02/names.csv", "k,name\na,newer\n")
    (tmp_path / "q.sql").write_text(
        "CREATE TABLE events (n bigint, k nvarchar(max));"
        " SELECT events.n, names.name INTO found FROM events JOIN names ON names.k = events.k"
    )
    definition = {
        "query": (tmp_path / "q.sql").read_text(),
        "inputs": {
            "events": {"type": "events", "serialization": {"type": "Csv", "properties": {"fieldDelimiter": ";"}}},
            "names": {
                "type": "reference",
                "container": "lists",
                "pathPattern": "{date}/names.csv",
                "dateFormat": "yyyy-MM-dd",
                "serialization": {"type": "Csv"},
            },
        },
        "outputs": {"found": {"type": "blob", "container": "rows"}},
    }
    (tmp_path / "job.json").write_text(json.dumps(definition))
    sql_job(hub, "create", "looked-up", "--definition", tmp_path / "job.json", "--start")
    client = Raw(hub.ready, DEVICE, own_token(hub.ready, hub.ready["device_connection_strings"][DEVICE]))
    assert client.next() == ("connack", CONNECTED)
    for body in ("n;k\n1;a\n2;b\n", "n;k\nx;a\n3;a\n"):
        client.publish(f"devices/{DEVICE}/messages/events/", body)
        assert client.next()[0] == "puback"
    client.close()
    eventually(lambda: len(rows(hub, "rows")) >= 2, what="rows")
    assert rows(hub, "rows") == [{"n": 1, "name": "newer"}, {"n": 3, "name": "newer"}]
    (job,) = sql_job(hub, "show", "looked-up")
    assert "InputDeserializerError.TypeConversionError" in {sample["kind"] for sample in job["samples"]}
    # Options say the same as the file.
    sql_job(
        hub, "create", "by-options", tmp_path / "q.sql", "--input-format", "csv", "--delimiter", ";",
        "--reference", "names=lists/{date}/names.csv", "--to", "blob:rows",
    )
    (job,) = sql_job(hub, "show", "by-options")
    assert job["definition"]["inputs"]["events"]["serialization"] == definition["inputs"]["events"]["serialization"]
    assert job["definition"]["inputs"]["names"]["serialization"] == {"type": "Csv"}
