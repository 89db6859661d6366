"""kill -9 under load: every acknowledged message is at the events endpoint and in the blobs afterwards, in order."""

import json
import random
import threading
from collections import defaultdict

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.storage.blob import BlobServiceClient

import events
from ironbrook import eventually, parse
from raw import CONNECTED, Raw, own_token

DEVICES = 4
WINDOW = 50
ROUNDS = 20
SLOW_ROUNDS = 200
# The stock client reads some thousand events a second here; a busy machine may take several times as long.
READ_PER_SECOND_MIN = 500


class Load:
    """One device that publishes numbers as fast as they are acknowledged, until its connection ends."""

    def __init__(self, ready, name, connection_string):
        self.name = name
        self.connection_string = connection_string
        self.next_number = 0
        self.acknowledged = []

    def start(self, ready):
        self.client = Raw(ready, self.name, own_token(ready, self.connection_string))
        assert self.client.next() == ("connack", CONNECTED)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        in_flight = {}
        # Without content type the storage record has the body in base64, with it as JSON.
        topic = f"devices/{self.name}/messages/events/$.ct=application%2Fjson&$.ce=utf-8"
        while True:
            while len(in_flight) < WINDOW:
                body = json.dumps({"number": self.next_number})
                in_flight[self.client.publish(topic, body)] = self.next_number
                self.next_number += 1
            what, which = self.client.next()
            if what == "closed":
                return
            self.acknowledged.append(in_flight.pop(which))

    def finish(self):
        self.thread.join(90)
        assert not self.thread.is_alive()
        self.client.close()


def blobs_of(ready):
    """The numbers in all JSON blobs: {device: {blob: [number, ...]}}."""
    service = BlobServiceClient.from_connection_string(ready["blob_connection_string"])
    found = defaultdict(lambda: defaultdict(list))
    for container in service.list_containers():
        client = service.get_container_client(container.name)
        for blob in client.list_blobs():
            if not blob.name.endswith(".json"):
                continue
            for line in client.download_blob(blob.name).readall().splitlines():
                record = json.loads(line)
                device = record["SystemProperties"]["connectionDeviceId"]
                if device.startswith("load-"):
                    found[device][blob.name].append(record["Body"]["number"])
    return found


@pytest.mark.timeout(900)
def test_no_acknowledged_message_is_lost(hub, slow):
    rounds = SLOW_ROUNDS if slow else ROUNDS
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    ready = hub.ready
    registry = IoTHubRegistryManager.from_connection_string(ready["hub_connection_string"])
    host = parse(ready["hub_connection_string"])["HostName"]
    loads = []
    for number in range(DEVICES):
        device = registry.create_device_with_sas(f"load-{number}", "", "", "enabled")
        key = device.authentication.symmetric_key.primary_key
        loads.append(Load(ready, device.device_id, f"HostName={host};DeviceId={device.device_id};SharedAccessKey={key}"))

    for _ in range(rounds):
        before = sum(len(load.acknowledged) for load in loads)
        wanted = before + chance.randrange(200, 1500)
        for load in loads:
            load.start(ready)
        eventually(lambda: sum(len(load.acknowledged) for load in loads) >= wanted, 60, "load")
        hub.kill()
        for load in loads:
            load.finish()
        ready = hub.start()

    # Nothing that a client was told is safe may be missing; what it was not told may be there or not.
    highest = {load.name: load.acknowledged[-1] for load in loads}
    numbers = numbers_at_events_endpoint(ready, highest)
    for load in loads:
        found = numbers[load.name]
        none_missing(load, found, "at the events endpoint")
        assert found == sorted(set(found)), f"{load.name}: order or a duplicate"

    def stored():
        found = blobs_of(ready)
        return all(set(load.acknowledged) <= {n for one in found[load.name].values() for n in one} for load in loads)

    try:
        eventually(stored, 60, "every acknowledged message in a blob")
    except AssertionError:
        found = blobs_of(ready)
        for load in loads:
            none_missing(load, [n for one in found[load.name].values() for n in one], "in the blobs")
    for device, by_blob in blobs_of(ready).items():
        for name, found in by_blob.items():
            assert found == sorted(set(found)), f"{device} in {name}: order or a duplicate"


def none_missing(load, found, where):
    missing = sorted(set(load.acknowledged) - set(found))
    assert not missing, f"{len(missing)} of {load.name} are not {where}: {missing[0]} to {missing[-1]}"


def numbers_at_events_endpoint(ready, highest):
    """Reads until the highest number of each device is there; gives {device: [number, ...]} in order of arrival."""
    numbers = {name: [] for name in highest}
    looked_at = 0

    def enough(got):
        nonlocal looked_at
        for _, event in got[looked_at:]:
            device = event.system_properties[b"iothub-connection-device-id"].decode()
            if device in numbers:
                numbers[device].append(event.body_as_json()["number"])
        looked_at = len(got)
        return all(numbers[name] and numbers[name][-1] >= highest[name] for name in highest)

    # Long loads take long to read: stopping before the end would look like a loss.
    got = events.read(ready, enough, timeout=60 + sum(highest.values()) / READ_PER_SECOND_MIN)
    enough(got)
    return numbers
