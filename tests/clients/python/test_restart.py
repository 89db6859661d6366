"""Stock clients across a restart of the hub: devices reconnect by themselves."""

import pathlib
import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, Message
from azure.iot.hub import IoTHubRegistryManager

import events


class Device:
    """A connected client, what it received, and whether it was connected, change by change."""

    def __init__(self, ca, connection_string, websockets):
        self.client = IoTHubDeviceClient.create_from_connection_string(
            connection_string, server_verification_cert=ca, websockets=websockets
        )
        self.received, self.states = queue.Queue(), queue.Queue()
        self.client.on_connection_state_change = lambda: self.states.put(self.client.connected)
        self.client.connect()
        self.becomes(True)
        self.client.on_message_received = lambda message: self.received.put(message.data)

    def becomes(self, connected):
        # The client tries again every ten seconds.
        assert self.states.get(timeout=60) is connected


@pytest.mark.also("azure-iot-device/mqtt", "reconnect")
@pytest.mark.also("azure-iot-device/mqtt-ws", "reconnect")
def test_devices_go_on_after_a_restart(hub, dev, new_device):
    ca = pathlib.Path(dev["ca_file"]).read_text()
    made = [(*new_device("restarted"), websockets) for websockets in (False, True)]
    devices = {name: Device(ca, text, websockets) for name, text, websockets in made}
    try:
        hub.stop()
        for device in devices.values():
            device.becomes(False)
        hub.start()
        service = IoTHubRegistryManager.from_connection_string(dev["hub_connection_string"])
        for name, device in devices.items():
            device.becomes(True)
            device.client.send_message(Message("after"))
            service.send_c2d_message(name, "after")
            assert device.received.get(timeout=60) == b"after"
    finally:
        for device in devices.values():
            device.client.shutdown()
    assert events.read(dev, lambda got: all(events.of_device(got, name) for name in devices))
