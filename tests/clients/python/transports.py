"""The transports of azure-iot-device, as parameters of fixtures: whether WebSocket is used."""

import pytest

TRANSPORTS = [
    pytest.param(False, id="mqtt", marks=pytest.mark.client("azure-iot-device/mqtt")),
    pytest.param(True, id="websocket", marks=pytest.mark.client("azure-iot-device/mqtt-ws")),
]
