"""What outlives a kill -9."""

import pytest
from conftest import Client
from ironbrook import Dev
from paho.mqtt.client import MQTTv311

PORT = 1893


@pytest.fixture
def broker(tmp_path):
    hub = Dev(tmp_path, "--no-edge", "--no-thermistor", "--mqtt-topics", f"127.0.0.1:{PORT}", "--mqtt-anonymous")
    # Beside another hub on the standard ports.
    for purpose in ["mqtt", "https", "https-fallback", "amqp", "amqp-plain", "portal", "blob"]:
        hub.environment[f"IRONBROOK__LISTEN__{purpose.replace('-', '_').upper()}"] = "127.0.0.1:0"
    hub.start()
    yield hub
    hub.stop()


def test_sessions_queues_and_retained_messages_outlive_a_kill(broker):
    subscriber = Client("s", MQTTv311, clean=False)
    subscriber.connect(port=PORT)
    subscriber.subscribe("a/#", 2)
    subscriber.disconnect()
    publisher = Client("p", MQTTv311)
    publisher.connect(port=PORT)
    for number in range(200):
        publisher.publish(f"a/{number}", str(number), qos=1 + number % 2)
    publisher.publish("r", "kept", retain=True)
    broker.kill()
    publisher.close()
    broker.start()
    subscriber = Client("s", MQTTv311, clean=False)
    flags, _, _ = subscriber.connect(port=PORT)
    assert flags.session_present
    got = [subscriber.message() for _ in range(200)]
    # paho shows a message of QoS 2 only after its handshake, so each quality has an order of its own.
    for qos, first in [(1, 0), (2, 1)]:
        payloads = [message.payload.decode() for message in got if message.qos == qos]
        assert payloads == [str(number) for number in range(first, 200, 2)]
    subscriber.subscribe("r", 1)
    message = subscriber.message()
    assert (message.payload, message.retain) == (b"kept", True)
    subscriber.disconnect()
