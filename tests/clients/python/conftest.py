"""Fixtures of the stock client tests: the registry, and devices of their own for tests that change them."""

import itertools
import pathlib

import pytest
from azure.iot.device import IoTHubDeviceClient
from azure.iot.hub import IoTHubRegistryManager

from ironbrook import parse


def pytest_collection_modifyitems(items):
    """Restarts of the hub come last: the service client's AMQP connection never comes back from one (uamqp)."""
    items.sort(key=lambda item: item.path.name == "test_restart.py")


@pytest.fixture(scope="session")
def registry(dev):
    """The stock service client with all rights."""
    return IoTHubRegistryManager.from_connection_string(dev["hub_connection_string"])


@pytest.fixture(scope="session")
def new_device(dev, registry):
    """Makes a device and gives (id, connection string)."""
    numbers = itertools.count(1)
    host = parse(dev["hub_connection_string"])["HostName"]

    def make(prefix="test"):
        name = f"{prefix}-{next(numbers)}"
        device = registry.create_device_with_sas(name, "", "", "enabled")
        key = device.authentication.symmetric_key.primary_key
        return name, f"HostName={host};DeviceId={name};SharedAccessKey={key}"

    return make


@pytest.fixture
def connect(dev):
    """Connects the stock device client; closed at the end of the test."""
    ca = pathlib.Path(dev["ca_file"]).read_text()
    clients = []

    def connect(connection_string, **options):
        client = IoTHubDeviceClient.create_from_connection_string(
            connection_string, server_verification_cert=ca, connection_retry=False, **options
        )
        clients.append(client)
        client.connect()
        return client

    yield connect
    for client in clients:
        client.shutdown()
