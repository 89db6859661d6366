"""A hub that serves ordinary topics, and a paho client that says what it got."""

import itertools
import queue

import paho.mqtt.client as mqtt
import pytest
from ironbrook import Dev
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT = 1883
WITHIN = 20
NUMBERS = itertools.count(1)


class Client:
    """A paho client with its answers in queues."""

    def __init__(self, client_id="", version=mqtt.MQTTv5, clean=True, expiry=0, user=None, will=None, **options):
        options = {"clean_session": clean, **options} if version != mqtt.MQTTv5 else options
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, **options)
        self.version, self.clean, self.expiry = version, clean, expiry
        self.messages, self.connects, self.ends, self.answers = (queue.Queue() for _ in range(4))
        self.mqtt.on_message = lambda _client, _data, message: self.messages.put(message)
        self.mqtt.on_connect = lambda _c, _d, flags, reason, properties: self.connects.put((flags, reason, properties))
        self.mqtt.on_disconnect = lambda _c, _d, _flags, reason, _properties: self.ends.put(reason)
        self.mqtt.on_subscribe = lambda _c, _d, _id, reasons, _properties: self.answers.put(reasons)
        self.mqtt.on_publish = lambda _c, _d, _id, reason, _properties: self.answers.put(reason)
        if user:
            self.mqtt.username_pw_set(*user)
        if will:
            self.mqtt.will_set(*will)

    def connect(self, host="127.0.0.1", port=PORT, keepalive=60, **properties):
        """Connects and gives flags, reason and properties of CONNACK."""
        if self.version == mqtt.MQTTv5:
            given = Properties(PacketTypes.CONNECT)
            given.SessionExpiryInterval = self.expiry
            for name, value in properties.items():
                setattr(given, name, value)
            self.mqtt.connect(host, port, keepalive, clean_start=self.clean, properties=given)
        else:
            self.mqtt.connect(host, port, keepalive)
        self.mqtt.loop_start()
        return self.connects.get(timeout=WITHIN)

    def subscribe(self, topic, qos=0, **options):
        self.mqtt.subscribe(topic, qos, **options)
        return self.answers.get(timeout=WITHIN)

    def publish(self, topic, payload, qos=1, retain=False, **properties):
        """Publishes and gives the reason of the last answer."""
        given = None
        if self.version == mqtt.MQTTv5:
            given = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(given, name, value)
        self.mqtt.publish(topic, payload, qos, retain, given)
        return self.answers.get(timeout=WITHIN)

    def message(self):
        return self.messages.get(timeout=WITHIN)

    def quiet(self, topic=None):
        """Whether nothing waits: a message of its own comes first."""
        probe = topic or f"probe/{next(NUMBERS)}"
        self.subscribe(probe, 1)
        self.publish(probe, "probe")
        return self.message().topic == probe

    def vanish(self):
        """Goes without DISCONNECT."""
        self.mqtt._sock.close()
        self.close()

    def close(self):
        self.mqtt.loop_stop()

    def disconnect(self):
        self.mqtt.disconnect()
        self.ends.get(timeout=WITHIN)
        self.close()


@pytest.fixture(scope="session")
def topics(tmp_path_factory):
    """A hub with ordinary topics for everybody on the usual port."""
    folder = tmp_path_factory.mktemp("topics")
    hub = Dev(folder, "--no-edge", "--no-thermistor", "--mqtt-topics", f"127.0.0.1:{PORT}", "--mqtt-anonymous")
    hub.start()
    yield hub
    hub.stop()


@pytest.fixture
def client(topics):
    """Makes clients; whatever is left of them ends with the test."""
    made = []

    def make(*arguments, **options):
        made.append(Client(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.mqtt.disconnect()
        one.close()
