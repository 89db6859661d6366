"""The connection to the hub: MQTT 3.1.1 over TLS with the stock umqtt.simple, nothing patched.

`Hub.ready()` keeps network, clock and connection up, `send()` publishes with QoS 1 and returns when the
hub has acknowledged, `poll()` takes messages from the hub. Everything that fails closes the connection;
the next `ready()` opens it again, after a pause that doubles each time.
"""

import binascii
import gc
import json
import random
import ssl
import time

from umqtt.simple import MQTTClient, MQTTException

import sas

API_VERSION = "2021-04-12"
KEEP_ALIVE_S = 120
# umqtt.simple leaves PINGREQ to its user.
PING_AFTER_MS = 45000
# How long a read may wait for the hub, acknowledgements included.
ANSWER_TIMEOUT_S = 30
FIRST_PAUSE_MS = 1000
LONGEST_PAUSE_MS = 60000
# A new token is used when this share of the lifetime is over.
RENEW_AT = 0.85
# umqtt.simple counts packet ids up without end, but they have 16 bits.
LAST_PACKET_ID = 60000
CONTENT = "$.ct=application%2Fjson&$.ce=utf-8"
# What a broken connection raises. Besides OSError: ValueError from TLS, MemoryError where its buffers do not
# fit, and what umqtt.simple raises when the hub closes in the middle of an answer.
BROKEN = (OSError, ValueError, MemoryError, AssertionError, IndexError, TypeError)


def pem_to_der(data):
    """The first certificate of a PEM file as DER; DER passes unchanged."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    start = data.find(begin)
    if start < 0:
        return data
    return binascii.a2b_base64(data[start + len(begin) : data.find(end)].replace(b"\r", b"").replace(b"\n", b""))


class Tls:
    """What umqtt.simple sees as its SSL context: verifies the hub, and keeps the socket for timeouts."""

    def __init__(self, ca, host):
        self.host = host
        self.socket = None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.load_verify_locations(cadata=ca)

    def wrap_socket(self, raw, server_hostname=None):
        """The name in the certificate must be the hub's, whatever address is dialled."""
        self.socket = raw
        self.wait_at_most(ANSWER_TIMEOUT_S)
        return self.context.wrap_socket(raw, server_hostname=self.host)

    def wait_at_most(self, seconds):
        """umqtt.simple makes the socket wait without end after each packet: say it anew before a wait."""
        if self.socket:
            self.socket.settimeout(seconds)


class Hub:
    """One device's connection. `on_message` gets each JSON message the hub sends down."""

    def __init__(self, config, board, on_message):
        self.config = config
        self.board = board
        self.on_message = on_message
        self.client = None
        self.tls = None
        self.renew_at = 0
        self.last_sent = 0
        self.pause_ms = FIRST_PAUSE_MS
        self.try_at = time.ticks_ms()
        self.clock_set = False

    def ready(self):
        """True with an open connection; opens or renews one if it is time to, and never raises for it."""
        if self.client and self.board.now() >= self.renew_at:
            print("token renewal: connecting again")
            self.close()
        if self.client:
            return True
        if time.ticks_diff(time.ticks_ms(), self.try_at) < 0:
            return False
        try:
            self.open()
        except MQTTException as error:
            # 4 and 5: key, device or time is wrong. Only the time can be mended from here.
            self.clock_set = False
            self.lost("hub refused the connection, code %s: check key, device and clock" % error)
            return False
        except BROKEN as error:
            self.lost("no connection: %r" % error)
            return False
        self.pause_ms = FIRST_PAUSE_MS
        return True

    def open(self):
        config = self.config
        self.board.connect_network()
        if not self.clock_set:
            # Before TLS and token: both are worth nothing with a wrong clock.
            self.board.set_clock()
            self.clock_set = True
        host, device = config["host"], config["device"]
        with open(config["ca_file"], "rb") as file:
            ca = pem_to_der(file.read())
        now = self.board.now()
        expiry = now + config["token_lifetime"]
        # TLS wants some tens of kilobytes in one piece.
        gc.collect()
        self.tls = Tls(ca, host)
        client = MQTTClient(
            device,
            config["address"] or host,
            port=config["port"],
            user="%s/%s/?api-version=%s" % (host, device, API_VERSION),
            password=sas.token(config["key"], "%s/devices/%s" % (host, device), expiry),
            keepalive=KEEP_ALIVE_S,
            ssl=self.tls,
            # Read only by releases of umqtt.simple that know no context: they must verify as well.
            ssl_params={"server_hostname": host, "cert_reqs": ssl.CERT_REQUIRED, "cadata": ca},
        )
        client.set_callback(self.received)
        try:
            # Messages sent while the device was away wait in the hub until it is back.
            client.connect(clean_session=False)
            client.subscribe("devices/%s/messages/devicebound/#" % device, qos=1)
        except Exception:
            if client.sock:
                client.sock.close()
            raise
        self.client = client
        self.renew_at = now + int(config["token_lifetime"] * RENEW_AT)
        self.last_sent = time.ticks_ms()
        print("connected to", host, "as", device)

    def send(self, telemetry, properties):
        """Publishes one JSON message; True once acknowledged. False: it must be sent again."""
        topic = "devices/%s/messages/events/%s" % (self.config["device"], CONTENT)
        for name, value in properties.items():
            topic += "&%s=%s" % (sas.percent_encode(name), sas.percent_encode(value))
        try:
            if self.client.pid >= LAST_PACKET_ID:
                self.client.pid = 0
            self.tls.wait_at_most(ANSWER_TIMEOUT_S)
            self.client.publish(topic, json.dumps(telemetry).encode(), qos=1)
            self.last_sent = time.ticks_ms()
            return True
        except BROKEN as error:
            self.lost("connection lost: %r" % error)
            return False

    def poll(self):
        """Takes one waiting message, if any, and keeps an idle connection alive."""
        if not self.client:
            return
        try:
            self.client.check_msg()
            if time.ticks_diff(time.ticks_ms(), self.last_sent) > PING_AFTER_MS:
                self.client.ping()
                self.last_sent = time.ticks_ms()
        except BROKEN as error:
            self.lost("connection lost: %r" % error)

    def received(self, topic, body):
        """Called by umqtt.simple, which acknowledges afterwards: it must not raise, or a bad message comes for ever."""
        try:
            self.on_message(json.loads(body))
        except ValueError as error:
            print("message from the hub is not JSON:", error)

    def lost(self, why):
        """Says why, drops the connection and doubles the pause; a random part keeps devices from coming all at once."""
        pause = self.pause_ms // 2 + random.getrandbits(16) * (self.pause_ms // 2) // 65536
        print(why, "- next try in", pause, "ms")
        self.try_at = time.ticks_add(time.ticks_ms(), pause)
        self.pause_ms = min(self.pause_ms * 2, LONGEST_PAUSE_MS)
        if self.client:
            try:
                self.client.sock.close()
            except OSError:
                pass
        self.client = None

    def close(self):
        """Says good-bye; the next `ready()` connects again."""
        if self.client:
            try:
                self.client.disconnect()
            except OSError:
                pass
        self.client = None
        self.try_at = time.ticks_ms()
