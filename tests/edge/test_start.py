"""The start of a deployment on a device that has never had one."""

import edge
from conftest import EDGE
from edge import SENSOR_IMAGE
from ironbrook import eventually

SENSOR, LISTENER = "sensor", "listener"


def test_a_modules_first_message_finds_the_routes_of_its_deployment(apart):
    """The sensor is up within milliseconds; what it sends first is for the listener all the same, however long that takes to start."""
    modules = {
        SENSOR: edge.module(SENSOR_IMAGE, {"MessageCount": 5, "MessageDelay": "00:00:00.001"}),
        LISTENER: edge.module("example.test/python:1.0"),
    }
    routes = {"toListener": f'FROM /messages/modules/{SENSOR}/* INTO BrokeredEndpoint("/modules/{LISTENER}/inputs/readings")'}
    apart.device.apply(edge.manifest(modules, routes, {SENSOR: {"SendData": True}}))
    apart.device.running()

    def all_five():
        status, answer = apart.device.call(LISTENER, "received")
        assert status == 200, answer
        numbers = [message["properties"]["sequenceNumber"] for message in answer["messages"]]
        return numbers if numbers[-1:] == ["5"] else None

    assert eventually(all_five, what="the last reading") == ["1", "2", "3", "4", "5"]
