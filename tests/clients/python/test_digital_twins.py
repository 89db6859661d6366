"""PyPI azure-iot-hub's client of digital twins, and azure-iot-device as the device behind one."""

import queue

import pytest
from azure.iot.device import MethodResponse
from azure.iot.hub import DigitalTwinClient
from msrest.exceptions import HttpOperationError

from ironbrook import eventually

pytestmark = pytest.mark.client("azure-iot-hub/rest")
# A product text that begins so is taken for a model by the client.
MODEL = "dtmi:com:example:TemperatureController;1"


@pytest.fixture
def twins(dev):
    return DigitalTwinClient.from_connection_string(dev["hub_connection_string"])


@pytest.mark.feature("digital-twins")
def test_dtwin_03_commands_are_direct_methods_of_the_device(twins, new_device, connect):
    name, connection_string = new_device("controller")
    client = connect(connection_string, product_info=MODEL)
    patches = queue.Queue()
    client.on_twin_desired_properties_patch_received = patches.put
    client.patch_twin_reported_properties({"serial": "7", "thermostat1": {"__t": "c", "max": 29.5}})
    twin = twins.get_digital_twin(name)
    assert (twin["$dtId"], twin["$metadata"]["$model"], twin["serial"]) == (name, MODEL, "7")
    assert twin["thermostat1"]["max"] == 29.5

    twins.update_digital_twin(name, [{"op": "add", "path": "/thermostat1/target", "value": 21}])
    patch = patches.get(timeout=60)
    assert patch["thermostat1"] == {"__t": "c", "target": 21}
    answer = {"value": 21, "ac": 200, "av": patch["$version"], "ad": "done"}
    client.patch_twin_reported_properties({"thermostat1": {"__t": "c", "target": answer}})
    acknowledged = lambda: (twin := twins.get_digital_twin(name)["thermostat1"]).get("target") == 21 and twin
    known = eventually(acknowledged)["$metadata"]["target"]
    assert (known["desiredValue"], known["ackCode"], known["ackVersion"]) == (21, 200, patch["$version"])

    def on_method(request):
        answer = MethodResponse.create_from_method_request(request, 201, {"called": request.name, "with": request.payload})
        client.send_method_response(answer)

    client.on_method_request_received = on_method
    assert twins.invoke_command(name, "reboot", 5) == {"called": "reboot", "with": 5}
    called = twins.invoke_component_command(name, "thermostat1", "getMaxMin", {"since": 1}, response_timeout_in_seconds=20)
    assert called == {"called": "thermostat1*getMaxMin", "with": {"since": 1}}
    with pytest.raises(HttpOperationError) as refused:
        twins.update_digital_twin(name, [{"op": "remove", "path": "/$metadata"}])
    assert refused.value.response.status_code == 400
