"""PyPI azure-iot-hub against the hub: registry, twins, methods, queries, messages to devices."""

import queue

import pytest
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import (
    CloudToDeviceMethod,
    ConfigurationContent,
    ExportImportDevice,
    QuerySpecification,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError

pytestmark = pytest.mark.client("azure-iot-hub/rest")


def status(call, *arguments):
    """The HTTP status of a call that must fail."""
    with pytest.raises(HttpOperationError) as error:
        call(*arguments)
    return error.value.response.status_code


@pytest.mark.feature("devices")
def test_device_life(registry):
    made = registry.create_device_with_sas("life-1", "", "", "enabled")
    keys = made.authentication.symmetric_key
    assert keys.primary_key and keys.secondary_key and keys.primary_key != keys.secondary_key
    assert made.generation_id and made.etag

    got = registry.get_device("life-1")
    assert got.authentication.symmetric_key.primary_key == keys.primary_key
    assert (got.status, got.connection_state) == ("enabled", "Disconnected")

    changed = registry.update_device_with_sas("life-1", got.etag, keys.primary_key, keys.secondary_key, "disabled")
    assert changed.status == "disabled" and changed.etag != got.etag
    assert status(registry.update_device_with_sas, "life-1", got.etag, keys.primary_key, keys.secondary_key, "enabled") == 412

    assert "life-1" in [device.device_id for device in registry.get_devices(1000)]
    registry.delete_device("life-1")
    assert status(registry.get_device, "life-1") == 404


def test_device_with_given_keys(registry):
    primary, secondary = "cHJpbWFyeS1rZXktMTIzNDU2Nzg=", "c2Vjb25kYXJ5LWtleS0xMjM0NTY="
    made = registry.create_device_with_sas("given-1", primary, secondary, "enabled")
    assert made.authentication.symmetric_key.primary_key == primary
    assert status(registry.create_device_with_sas, "given-1", primary, secondary, "enabled") == 409


@pytest.mark.feature("modules")
def test_module_life(registry, new_device):
    name, _ = new_device("with-module")
    module = registry.create_module_with_sas(name, "m1", "", "", "")
    assert module.authentication.symmetric_key.primary_key
    assert registry.get_module(name, "m1").module_id == "m1"
    assert [m.module_id for m in registry.get_modules(name)] == ["m1"]
    registry.delete_module(name, "m1")
    assert status(registry.get_module, name, "m1") == 404


@pytest.mark.feature("twins")
def test_twin_tags_and_etag(registry, new_device):
    name, _ = new_device("twin")
    before = registry.get_twin(name)
    twin = Twin(tags={"place": {"hall": 3}}, properties=TwinProperties(desired={"interval": 2}))
    after = registry.update_twin(name, twin, before.etag)
    assert after.tags == {"place": {"hall": 3}}
    assert after.properties.desired["interval"] == 2
    assert after.etag != before.etag
    assert status(registry.update_twin, name, twin, before.etag) == 412


@pytest.mark.feature("twins")
def test_twin_is_replaced(registry, new_device):
    name, _ = new_device("replaced")
    registry.update_twin(name, Twin(tags={"old": 1}, properties=TwinProperties(desired={"old": 1})), "*")
    after = registry.replace_twin(name, Twin(tags={"new": 2}, properties=TwinProperties(desired={"new": 2})), "*")
    assert after.tags == {"new": 2}
    assert "old" not in after.properties.desired and after.properties.desired["new"] == 2


@pytest.mark.feature("bulk")
def test_bulk(registry):
    names = [f"bulk-{number}" for number in range(3)]
    made = registry.bulk_create_or_update_devices(
        [ExportImportDevice(id=name, import_mode="create", status="enabled") for name in names]
    )
    assert made.is_successful and not made.errors
    assert set(names) <= {device.device_id for device in registry.get_devices(1000)}
    again = registry.bulk_create_or_update_devices(
        [ExportImportDevice(id=name, import_mode="delete") for name in names]
    )
    assert again.is_successful
    assert not set(names) & {device.device_id for device in registry.get_devices(1000)}


@pytest.mark.feature("query")
def test_query_comes_in_pages(registry, new_device):
    names = [new_device("paged")[0] for _ in range(3)]
    for name in names:
        registry.update_twin(name, Twin(tags={"query": "pages"}), "*")
    asked = QuerySpecification(query="SELECT * FROM devices WHERE tags.query = 'pages'")
    found, continuation = [], None
    while True:
        page = registry.query_iot_hub(asked, continuation, 2)
        found += [twin.device_id for twin in page.items]
        continuation = page.continuation_token
        if not continuation:
            break
    assert sorted(found) == sorted(names)


@pytest.mark.feature("apply")
def test_modules_of_an_edge_device_are_set(registry, dev):
    registry.create_device_with_sas("applied-1", "", "", "enabled", iot_edge=True)
    manager = IoTHubConfigurationManager.from_connection_string(dev["hub_connection_string"])
    content = ConfigurationContent(
        modules_content={
            "$edgeAgent": {"properties.desired": {"schemaVersion": "1.1", "modules": {}}},
            "$edgeHub": {"properties.desired": {"schemaVersion": "1.1", "routes": {}}},
        }
    )
    manager.apply_configuration_on_edge_device("applied-1", content)
    assert registry.get_module_twin("applied-1", "$edgeAgent").properties.desired["schemaVersion"] == "1.1"


@pytest.mark.client("azure-iot-hub/amqp-ws")
@pytest.mark.feature("send")
def test_message_to_a_device_by_websocket(dev, new_device, connect):
    from uamqp import TransportType

    name, connection_string = new_device("sent-by-websocket")
    by_websocket = IoTHubRegistryManager(
        connection_string=dev["hub_connection_string"], transport_type=TransportType.AmqpOverWebsocket
    )
    by_websocket.send_c2d_message(name, "by websocket")
    received = queue.Queue()
    connect(connection_string).on_message_received = lambda message: received.put(message.data)
    assert received.get(timeout=60) == b"by websocket"


@pytest.mark.feature("query")
def test_query(registry, new_device):
    name, _ = new_device("query")
    registry.update_twin(name, Twin(tags={"query": "yes"}), "*")
    found = registry.query_iot_hub(QuerySpecification(query="SELECT * FROM devices WHERE tags.query = 'yes'"))
    assert [twin.device_id for twin in found.items] == [name]


def test_method_of_a_device_that_is_not_connected(registry, new_device):
    name, _ = new_device("offline")
    method = CloudToDeviceMethod(method_name="go", response_timeout_in_seconds=5, connect_timeout_in_seconds=0)
    with pytest.raises(HttpOperationError) as error:
        registry.invoke_device_method(name, method)
    assert error.value.response.status_code == 404
    assert "404103" in error.value.response.text


@pytest.mark.feature("statistics")
def test_statistics(registry, new_device):
    new_device("counted")
    statistics = registry.get_device_registry_statistics()
    assert statistics.total_device_count >= 2
    assert statistics.enabled_device_count >= 2


def test_message_to_an_unknown_device_is_refused(registry):
    with pytest.raises(Exception, match="C2D message send failure"):
        registry.send_c2d_message("nobody", "hello")
