"""PyPI azure-iot-device against the hub, over MQTT and over MQTT in a websocket."""

import json
import queue

import pytest
from azure.iot.device import Message, MethodResponse
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties

import events
from transports import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
def device(request, new_device, connect):
    """(id, connected client) by either transport."""
    name, connection_string = new_device("device")
    return name, connect(connection_string, websockets=request.param)


@pytest.mark.feature("connect-sas", "telemetry")
def test_telemetry_arrives_with_its_properties(device, dev):
    name, client = device
    message = Message(json.dumps({"temperature": 21.5}), content_encoding="utf-8", content_type="application/json")
    message.message_id = "m-1"
    message.correlation_id = "c-1"
    message.custom_properties["temp alert"] = "true/x&y=z"
    client.send_message(message)

    got = events.of_device(events.read(dev, lambda got: events.of_device(got, name)), name)
    assert len(got) == 1
    event = got[0]
    assert event.body_as_json() == {"temperature": 21.5}
    assert (event.message_id, event.correlation_id) == ("m-1", "c-1")
    assert event.content_type == "application/json"
    assert event.properties == {b"temp alert": b"true/x&y=z"}
    system = event.system_properties
    assert json.loads(system[b"iothub-connection-auth-method"])["scope"] == "device"
    assert system[b"iothub-message-source"] == b"Telemetry"
    assert system[b"iothub-connection-auth-generation-id"]
    assert abs(system[b"iothub-enqueuedtime"] - system[b"x-opt-enqueued-time"]) < 60_000


@pytest.mark.feature("c2d")
@pytest.mark.also("azure-iot-hub/amqp", "send")
def test_message_to_the_device(device, registry):
    name, client = device
    received = queue.Queue()
    client.on_message_received = received.put
    registry.send_c2d_message(
        name, "hello", properties={"messageId": "c2d-1", "contentType": "text/plain", "colour": "a b/c"}
    )
    message = received.get(timeout=60)
    assert message.data == b"hello"
    assert message.message_id == "c2d-1"
    assert message.content_type == "text/plain"
    assert message.custom_properties["colour"] == "a b/c"


def test_message_sent_while_the_device_is_away_waits_for_it(new_device, connect, registry):
    name, connection_string = new_device("away")
    for number in range(3):
        registry.send_c2d_message(name, f"queued {number}")
    client = connect(connection_string)
    received = queue.Queue()
    client.on_message_received = lambda message: received.put(message.data)
    assert [received.get(timeout=60) for _ in range(3)] == [b"queued 0", b"queued 1", b"queued 2"]


@pytest.mark.feature("twin-get", "twin-report")
def test_twin_get_and_patch(device, registry):
    name, client = device
    twin = client.get_twin()
    assert twin["desired"] == {"$version": 1}
    assert twin["reported"] == {"$version": 1}

    client.patch_twin_reported_properties({"firmware": {"version": "1.0", "build": 7}, "old": True})
    client.patch_twin_reported_properties({"firmware": {"version": "1.1"}, "old": None})
    reported = client.get_twin()["reported"]
    assert reported == {"firmware": {"version": "1.1", "build": 7}, "$version": 3}
    service = registry.get_twin(name).properties.reported
    assert service["firmware"] == {"version": "1.1", "build": 7}
    assert "$lastUpdated" in service["$metadata"]["firmware"]["version"]


@pytest.mark.feature("twin-desired")
def test_desired_properties_are_pushed(device, registry):
    name, client = device
    received = queue.Queue()
    client.on_twin_desired_properties_patch_received = received.put
    for interval in (5, 10):
        twin = Twin(properties=TwinProperties(desired={"interval": interval}))
        registry.update_twin(name, twin, "*")
    assert received.get(timeout=60) == {"interval": 5, "$version": 2}
    assert received.get(timeout=60) == {"interval": 10, "$version": 3}
    assert client.get_twin()["desired"] == {"interval": 10, "$version": 3}


@pytest.mark.client("azure-iot-device/mqtt")
@pytest.mark.feature("method")
@pytest.mark.also("azure-iot-hub/rest", "methods")
# The service SDK makes "" of None.
@pytest.mark.parametrize("payload", [{"speed": 3}, "text", 7, ""], ids=["object", "text", "number", "empty"])
def test_direct_method(new_device, connect, registry, payload):
    name, connection_string = new_device("method")
    client = connect(connection_string)

    def answer(request):
        response = MethodResponse.create_from_method_request(
            request, 207, {"name": request.name, "payload": request.payload}
        )
        client.send_method_response(response)

    client.on_method_request_received = answer
    method = CloudToDeviceMethod(method_name="setSpeed", payload=payload, response_timeout_in_seconds=20)
    result = registry.invoke_device_method(name, method)
    assert result.status == 207
    assert result.payload == {"name": "setSpeed", "payload": payload}


@pytest.mark.client("azure-iot-device/mqtt-ws")
@pytest.mark.feature("method")
def test_direct_method_by_websocket(new_device, connect, registry):
    name, connection_string = new_device("method")
    client = connect(connection_string, websockets=True)
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 200, "done")
    )
    result = registry.invoke_device_method(name, CloudToDeviceMethod(method_name="go", response_timeout_in_seconds=20))
    assert (result.status, result.payload) == (200, "done")
