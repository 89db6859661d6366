"""Ordinary topics with paho, both versions."""

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311
from paho.mqtt.subscribeoptions import SubscribeOptions

VERSIONS = [pytest.param(MQTTv311, id="3.1.1"), pytest.param(MQTTv5, id="5.0")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_message_arrives_once(client, version, qos):
    subscriber, publisher = client(version=version), client(version=version)
    subscriber.connect()
    publisher.connect()
    subscriber.subscribe(f"plant/+/{qos}", qos)
    for number in range(100):
        publisher.publish(f"plant/x/{qos}", str(number), qos)
    got = [subscriber.message() for _ in range(100)]
    assert [message.payload.decode() for message in got] == [str(number) for number in range(100)]
    assert {message.qos for message in got} == {qos}
    assert subscriber.quiet()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_newest_connection_wins(client, version):
    first, second = client("same", version), client("same", version)
    first.connect()
    second.connect()
    reason = first.ends.get(timeout=20)
    if version == MQTTv5:
        assert reason.value == 0x8E
    first.close()
    assert second.quiet()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_will_is_published_for_who_vanishes(client, version):
    watcher = client(version=version)
    watcher.connect()
    watcher.subscribe("wills/#", 1)
    polite = client("polite", version, will=("wills/polite", "gone", 1))
    polite.connect()
    polite.disconnect()
    rude = client("rude", version, will=("wills/rude", "gone", 1))
    rude.connect()
    rude.vanish()
    message = watcher.message()
    assert (message.topic, message.payload) == ("wills/rude", b"gone")
    assert watcher.quiet()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_waits_for_its_client(client, version):
    name = f"waits-{version}"
    subscriber = client(name, version, clean=False, expiry=60)
    flags, _, _ = subscriber.connect()
    assert not flags.session_present
    subscriber.subscribe("waits/#", 1)
    subscriber.disconnect()
    publisher = client(version=version)
    publisher.connect()
    publisher.publish("waits/a", "1")
    again = client(name, version, clean=False, expiry=60)
    flags, _, _ = again.connect()
    assert flags.session_present
    assert again.message().payload == b"1"


def test_properties_of_5_0_reach_the_other_side(client):
    subscriber, publisher = client(), client()
    subscriber.connect()
    publisher.connect()
    subscriber.subscribe("properties", 1)
    said = {
        "PayloadFormatIndicator": 1,
        "MessageExpiryInterval": 100,
        "ContentType": "text/plain",
        "ResponseTopic": "answers/here",
        "CorrelationData": b"c",
        "UserProperty": [("a", "1"), ("b", "2"), ("a", "3")],
    }
    publisher.publish("properties", "x", **said)
    got = subscriber.message().properties
    assert {name: getattr(got, name) for name in said} == said


def test_a_shared_subscription_splits_the_messages(client):
    members = [client(), client()]
    for member in members:
        member.connect()
        member.subscribe("$share/group/jobs/#", 1)
    publisher = client()
    publisher.connect()
    for number in range(50):
        publisher.publish(f"jobs/{number}", str(number))
    got = [[member.message().payload for _ in range(25)] for member in members]
    assert len(set(got[0] + got[1])) == 50
    assert all(member.quiet() for member in members)


def test_a_client_need_not_hear_itself(client):
    one = client()
    one.connect()
    one.subscribe("own", options=SubscribeOptions(qos=1, noLocal=True))
    one.publish("own", "x")
    assert one.quiet()


def test_what_is_retained_is_there_for_the_next(client):
    publisher = client()
    publisher.connect()
    publisher.publish("kept/a", "1", retain=True)
    subscriber = client()
    subscriber.connect()
    subscriber.subscribe("kept/+", 1)
    message = subscriber.message()
    assert (message.payload, message.retain) == (b"1", True)
    publisher.publish("kept/a", "", retain=True)
    assert (subscriber.message().payload, subscriber.quiet()) == (b"", True)
    late = client()
    late.connect()
    late.subscribe("kept/+", 1)
    assert late.quiet()


def test_figures_are_below_sys(client):
    reader = client()
    reader.connect()
    reader.subscribe("$SYS/broker/clients/connected", 0)
    assert int(reader.message().payload) >= 0


def test_websocket(client):
    subscriber = client(transport="websockets")
    subscriber.connect()
    subscriber.subscribe("ws", 1)
    publisher = client()
    publisher.connect()
    publisher.publish("ws", "x" * 100_000)
    assert len(subscriber.message().payload) == 100_000
