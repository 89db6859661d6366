"""Readers that share the events endpoint: PyPI azure-eventhub with its checkpoint store on the storage account."""

import json
import pathlib
import threading
import uuid
import warnings

import pytest
from azure.eventhub import EventHubConsumerClient, TransportType
from azure.eventhub.exceptions import EventHubError
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.iot.device import IoTHubDeviceClient, Message
from azure.storage.blob import ContainerClient

import events
from ironbrook import eventually

# Times of the client, short enough for a test.
BALANCE_SECONDS, OWNED_SECONDS = 1, 5


@pytest.fixture(
    params=[
        pytest.param(TransportType.Amqp, id="amqp", marks=pytest.mark.client("azure-eventhub/amqp")),
        pytest.param(TransportType.AmqpOverWebsocket, id="websocket", marks=pytest.mark.client("azure-eventhub/amqp-ws")),
    ]
)
def transport(request):
    """Both transports."""
    return request.param


@pytest.fixture
def container(dev):
    """A container for checkpoints."""
    name = "checkpoints-" + uuid.uuid4().hex
    with ContainerClient.from_connection_string(dev["blob_connection_string"], name) as client:
        client.create_container()
        yield name
        client.delete_container()


@pytest.fixture(scope="module")
def sender(dev, new_device):
    """A device that sends numbers when it is told to: (id, function)."""
    name, connection_string = new_device("consumed")
    ca = pathlib.Path(dev["ca_file"]).read_text()
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    client.connect()

    def send(*numbers):
        for number in numbers:
            client.send_message(Message(json.dumps({"number": number})))

    yield name, send
    client.shutdown()


class Processor:
    """A consumer with a checkpoint store, reading in a thread until it is stopped."""

    def __init__(self, dev, container, transport, device):
        store = BlobCheckpointStore.from_connection_string(dev["blob_connection_string"], container)
        self.client = events.consumer(
            dev,
            transport_type=transport,
            checkpoint_store=store,
            load_balancing_interval=BALANCE_SECONDS,
            partition_ownership_expiration_interval=OWNED_SECONDS,
            load_balancing_strategy="greedy",
        )
        self.device, self.owned, self.numbers, self.errors = device, set(), [], []
        handlers = {
            "on_partition_initialize": lambda context: self.owned.add(context.partition_id),
            "on_partition_close": lambda context, _reason: self.owned.discard(context.partition_id),
            "on_error": lambda _context, error: self.errors.append(error),
        }
        self.thread = threading.Thread(
            target=self.client.receive_batch,
            args=(self.on_batch,),
            kwargs={"starting_position": "-1", "max_wait_time": 0.5, **handlers},
            daemon=True,
        )
        self.thread.start()

    def on_batch(self, context, batch):
        found = events.of_device([(context.partition_id, event) for event in batch], self.device)
        self.numbers += [event.body_as_json()["number"] for event in found]
        if batch:
            context.update_checkpoint()

    def stop(self):
        self.client.close()
        self.thread.join(20)
        if self.thread.is_alive():
            # Seen over WebSocket on a slow machine; what the next processor finds is asserted all the same.
            warnings.warn("the SDK's consumer did not come to an end within 20 s of its close()", stacklevel=2)


@pytest.mark.feature("checkpoints", "balance")
def test_processors_share_the_partitions_and_go_on_at_their_checkpoints(dev, container, sender, transport):
    name, send = sender
    first = uuid.uuid4().int % 1_000_000_000
    send(first, first + 1, first + 2)
    one = Processor(dev, container, transport, name)
    eventually(lambda: len(one.owned) == 4, what="all partitions for the first")
    eventually(lambda: one.numbers[-3:] == [first, first + 1, first + 2], what="the first numbers")
    two = Processor(dev, container, transport, name)
    eventually(lambda: len(one.owned) == len(two.owned) == 2 and not one.owned & two.owned, what="two for each")
    one.stop()
    eventually(lambda: len(two.owned) == 4, what="all partitions for the second")
    two.stop()
    send(first + 3)
    three = Processor(dev, container, transport, name)
    # The SDK may not come to an end where it is stopped while it opens connections.
    eventually(lambda: three.numbers and len(three.owned) == 4, what="the number after the checkpoint")
    three.stop()
    # Each began where the one before had left it.
    assert three.numbers == [first + 3]
    assert (one.numbers + two.numbers)[-3:] == [first, first + 1, first + 2]
    # Who is told by the hub that a partition was taken over, before it read that in the blobs, has lost nothing.
    assert [error for error in one.errors if "amqp:link:stolen" not in str(error)] == []
    assert two.errors == three.errors == []


@pytest.mark.feature("epoch")
def test_an_owner_level_displaces_lower_ones(dev, transport):
    errors, started = {}, threading.Event()

    def read(level, begun):
        client = events.consumer(dev, transport_type=transport, retry_total=0)

        def on_error(_context, error):
            errors.setdefault(level, error)
            client.close()

        thread = threading.Thread(
            target=client.receive_batch,
            args=(lambda _context, _batch: begun.set(),),
            kwargs={
                "partition_id": "0",
                "owner_level": level,
                "starting_position": "-1",
                "on_error": on_error,
                "max_wait_time": 0.5,
            },
        )
        thread.start()
        return client, thread

    lower = read(1, started)
    assert started.wait(60)
    begun = threading.Event()
    higher = read(2, begun)
    assert begun.wait(60)
    lower[1].join(60)
    assert not lower[1].is_alive() and 2 not in errors
    assert isinstance(errors[1], EventHubError) and "higher" in str(errors[1]).lower() or "owner level" in str(errors[1])
    refused = read(1, threading.Event())
    refused[1].join(60)
    assert not refused[1].is_alive()
    higher[0].close()
    higher[1].join(60)


@pytest.mark.client("azure-eventhub/amqp-ws")
@pytest.mark.feature("read", "resume", "management", "last-enqueued")
def test_all_of_reading_by_websocket(dev, sender):
    name, send = sender
    first = uuid.uuid4().int % 1_000_000_000
    send(first, first + 1, first + 2)
    options = {"transport_type": TransportType.AmqpOverWebsocket}
    numbers = lambda got: [event.body_as_json()["number"] for event in events.of_device(got, name)]
    got = events.read(dev, lambda got: numbers(got)[-1:] == [first + 2], client=options)
    assert numbers(got)[-3:] == [first, first + 1, first + 2]
    event = events.of_device(got, name)[-3]
    partition = next(partition for partition, other in got if other is event)

    resumed = {"partition_id": partition, "starting_position": event.sequence_number, "client": options}
    after = events.read(dev, lambda got: len(numbers(got)) == 2, **resumed)
    assert numbers(after) == [first + 1, first + 2]

    with events.consumer(dev, **options) as client:
        assert partition in client.get_partition_ids()
        assert client.get_partition_properties(partition)["last_enqueued_sequence_number"] > event.sequence_number

    tracked = {}

    def on_event(context, _event):
        tracked.update(context.last_enqueued_event_properties or {})
        client.close()

    client = events.consumer(dev, **options)
    client.receive(on_event, partition_id=partition, starting_position="-1", track_last_enqueued_event_properties=True)
    assert tracked["sequence_number"] > event.sequence_number
