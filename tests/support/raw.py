"""An MQTT client with nothing of an SDK: it tells what the hub answered, and does what no SDK would."""

import queue
import ssl

import paho.mqtt.client as mqtt

import ironbrook

CONNECTED = 0
API_VERSION = "2021-04-12"


class Client(mqtt.Client):
    """paho's client; a connection that ends while it writes would end its thread without a word."""

    def __init__(self, happened, *arguments, **options):
        super().__init__(*arguments, **options)
        self.happened = happened

    def _thread_main(self):
        try:
            super()._thread_main()
        except OSError:
            self.happened.put(("closed", -1))


class Connection:
    """One connection. Events arrive in order in `happened`: ("connack", code), ("suback", id), ("puback", id), ("closed", code)."""

    def __init__(self, host, client_id, username, password, context, on_message=None):
        self.happened = queue.Queue()
        self.client = Client(self.happened, client_id, clean_session=False, protocol=mqtt.MQTTv311, reconnect_on_failure=False)
        self.client.username_pw_set(username, password)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda _c, _u, _f, code: self.happened.put(("connack", code))
        self.client.on_subscribe = lambda _c, _u, mid, _codes: self.happened.put(("suback", mid))
        self.client.on_publish = lambda _c, _u, mid: self.happened.put(("puback", mid))
        self.client.on_disconnect = lambda _c, _u, code: self.happened.put(("closed", code))
        if on_message:
            # A message is acknowledged when this returns.
            self.client.on_message = lambda _c, _u, message: on_message(message)
        self.client.connect(host, 8883, keepalive=60)
        self.client.loop_start()

    def next(self, timeout=60):
        """The next thing that happened."""
        return self.happened.get(timeout=timeout)

    def publish(self, topic, payload):
        """QoS 1; gives the packet id."""
        return self.client.publish(topic, payload, qos=1).mid

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Raw(Connection):
    """A device with a token of the caller's choice."""

    def __init__(self, ready, device, password, ca_file=None, host="localhost"):
        hub = ironbrook.parse(ready["hub_connection_string"])["HostName"]
        context = ssl.create_default_context(cafile=ca_file or ready["ca_file"])
        super().__init__(host, device, f"{hub}/{device}/?api-version={API_VERSION}", password, context)


def own_token(ready, connection_string, expiry=None, key=None):
    """The token a device makes for itself."""
    parts = ironbrook.parse(connection_string)
    resource = f"{parts['HostName']}/devices/{parts['DeviceId']}"
    return ironbrook.token(resource, key or parts["SharedAccessKey"], expiry)
