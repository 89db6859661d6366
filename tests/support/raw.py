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


class Raw:
    """One connection. Events arrive in order in `happened`: ("connack", code), ("puback", id), ("closed", code)."""

    def __init__(self, ready, device, password, ca_file=None, host="localhost"):
        self.happened = queue.Queue()
        hub = ironbrook.parse(ready["hub_connection_string"])["HostName"]
        self.client = Client(self.happened, device, clean_session=False, protocol=mqtt.MQTTv311, reconnect_on_failure=False)
        self.client.username_pw_set(f"{hub}/{device}/?api-version={API_VERSION}", password)
        self.client.tls_set_context(ssl.create_default_context(cafile=ca_file or ready["ca_file"]))
        self.client.on_connect = lambda _c, _u, _f, code: self.happened.put(("connack", code))
        self.client.on_publish = lambda _c, _u, mid: self.happened.put(("puback", mid))
        self.client.on_disconnect = lambda _c, _u, code: self.happened.put(("closed", code))
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


def own_token(ready, connection_string, expiry=None, key=None):
    """The token a device makes for itself."""
    parts = ironbrook.parse(connection_string)
    resource = f"{parts['HostName']}/devices/{parts['DeviceId']}"
    return ironbrook.token(resource, key or parts["SharedAccessKey"], expiry)
