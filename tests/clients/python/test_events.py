"""PyPI azure-eventhub against the built-in events endpoint."""

import datetime
import json
import threading

import pytest
from azure.eventhub.exceptions import AuthenticationError
from azure.iot.device import Message

import events

pytestmark = pytest.mark.client("azure-eventhub/amqp")


@pytest.fixture(scope="module")
def sent(dev, new_device, request):
    """A device that has sent ten numbered messages, and its events as first read from the beginning."""
    import pathlib

    from azure.iot.device import IoTHubDeviceClient

    name, connection_string = new_device("events")
    ca = pathlib.Path(dev["ca_file"]).read_text()
    client = IoTHubDeviceClient.create_from_connection_string(connection_string, server_verification_cert=ca)
    client.connect()
    for number in range(10):
        client.send_message(Message(json.dumps({"number": number})))
    client.shutdown()
    got = events.read(dev, lambda got: len(events.of_device(got, name)) >= 10)
    own = [(partition, event) for partition, event in got if events.of_device([(partition, event)], name)]
    return name, own


def numbers(got, name):
    return [event.body_as_json()["number"] for event in events.of_device(got, name)]


@pytest.mark.feature("read")
def test_earliest_gives_everything_in_order(sent):
    name, own = sent
    assert numbers(own, name) == list(range(10))
    assert len({partition for partition, _ in own}) == 1, "one device is one partition"
    sequence = [event.sequence_number for _, event in own]
    assert sequence == sorted(set(sequence))
    offsets = [int(event.offset) for _, event in own]
    assert offsets == sorted(set(offsets))
    now = datetime.datetime.now(datetime.timezone.utc)
    assert all(abs(now - event.enqueued_time) < datetime.timedelta(minutes=10) for _, event in own)


@pytest.mark.feature("resume")
def test_resume_after_an_offset(sent, dev):
    name, own = sent
    partition, event = own[3]
    got = events.read(
        dev,
        lambda got: len(events.of_device(got, name)) >= 6,
        partition_id=partition,
        starting_position=event.offset,
    )
    assert numbers(got, name) == list(range(4, 10))


@pytest.mark.feature("resume")
@pytest.mark.parametrize("inclusive", [False, True])
def test_resume_at_a_sequence_number(sent, dev, inclusive):
    name, own = sent
    partition, event = own[3]
    first = 3 if inclusive else 4
    got = events.read(
        dev,
        lambda got: len(events.of_device(got, name)) >= 10 - first,
        partition_id=partition,
        starting_position=event.sequence_number,
        starting_position_inclusive=inclusive,
    )
    assert numbers(got, name) == list(range(first, 10))


@pytest.mark.feature("resume")
def test_start_at_a_time(sent, dev):
    name, own = sent
    got = events.read(
        dev,
        lambda got: len(events.of_device(got, name)) >= 10,
        starting_position=own[0][1].enqueued_time - datetime.timedelta(seconds=1),
    )
    assert numbers(got, name) == list(range(10))


@pytest.mark.feature("read")
def test_latest_gives_only_what_comes_after(sent, dev, new_device, connect):
    old, _ = sent
    name, connection_string = new_device("latest")
    client = connect(connection_string)
    seen = threading.Event()

    def keep_sending():
        # The reader attaches when it likes; sending goes on until it has seen one.
        number = 0
        while not seen.is_set() and number < 100:
            client.send_message(Message(json.dumps({"number": number})))
            number += 1
            # Slower than the client polls: it hands over a batch only when nothing more comes for a moment.
            seen.wait(0.5)

    def enough(got):
        if len(events.of_device(got, name)) >= 3:
            seen.set()
        return seen.is_set()

    sender = threading.Thread(target=keep_sending)
    got = events.read(dev, enough, starting_position="@latest", started=sender.start)
    seen.set()
    sender.join()
    assert events.of_device(got, old) == []
    after = numbers(got, name)
    assert len(after) >= 3
    assert after == list(range(after[0], after[0] + len(after)))


@pytest.mark.feature("management")
def test_management(sent, dev):
    _, own = sent
    with events.consumer(dev) as client:
        hub = client.get_eventhub_properties()
        assert hub["eventhub_name"] == client.eventhub_name
        assert hub["created_at"] is not None
        ids = client.get_partition_ids()
        assert ids == hub["partition_ids"] == [str(number) for number in range(len(ids))]
        partition, last = own[-1]
        properties = client.get_partition_properties(partition)
    assert properties["id"] == partition
    assert properties["beginning_sequence_number"] <= own[0][1].sequence_number
    assert properties["last_enqueued_sequence_number"] >= last.sequence_number
    assert int(properties["last_enqueued_offset"]) >= int(last.offset)
    assert properties["is_empty"] is False


@pytest.mark.feature("last-enqueued")
def test_last_enqueued_properties_are_tracked(sent, dev):
    name, own = sent
    partition, _ = own[0]
    tracked = {}

    def on_event(context, event):
        tracked.update(context.last_enqueued_event_properties or {})
        client.close()

    client = events.consumer(dev)
    client.receive(
        on_event, partition_id=partition, starting_position="-1", track_last_enqueued_event_properties=True
    )
    assert tracked["sequence_number"] >= own[-1][1].sequence_number


def test_emulator_mode_without_tls(sent, dev):
    name, _ = sent
    text = dev["events_connection_string"].rstrip(";") + ";UseDevelopmentEmulator=true"
    got = events.read(dev, lambda got: len(events.of_device(got, name)) >= 10, connection_string=text)
    assert numbers(got, name) == list(range(10))


def test_wrong_key_is_refused(dev):
    parts = dev["events_connection_string"].split(";")
    text = ";".join("SharedAccessKey=" + "A" * 43 + "=" if p.startswith("SharedAccessKey=") else p for p in parts)
    with events.consumer(dev, text, retry_total=0) as client, pytest.raises(AuthenticationError):
        client.get_eventhub_properties()
