"""PyPI azure-iot-hub against the hub: automatic configurations of devices and modules."""

import pytest
from azure.iot.hub import IoTHubConfigurationManager
from azure.iot.hub.models import (
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    Twin,
)
from msrest.exceptions import HttpOperationError

from ironbrook import eventually


pytestmark = pytest.mark.client("azure-iot-hub/rest")


@pytest.fixture(scope="module")
def configurations(dev):
    return IoTHubConfigurationManager.from_connection_string(dev["hub_connection_string"])


def status(call, *arguments):
    """The HTTP status of a call that must fail."""
    with pytest.raises(HttpOperationError) as error:
        call(*arguments)
    return error.value.response.status_code


def configuration(name, condition, value, **members):
    content = ConfigurationContent(device_content={"properties.desired.settings": {"value": value}})
    return Configuration(id=name, content=content, target_condition=condition, **members)


def tagged(registry, name, tags):
    registry.update_twin(name, Twin(tags=tags), registry.get_twin(name).etag)


@pytest.mark.feature("configurations")
def test_a_configuration_reaches_its_devices(configurations, registry, new_device):
    first, _ = new_device("configured")
    tagged(registry, first, {"line": "python-1"})
    metrics = ConfigurationMetrics(queries={"set": "SELECT deviceId FROM devices WHERE properties.desired.settings.value = 1"})
    wanted = configuration("python-1", "tags.line = 'python-1'", 1, priority=5, labels={"App": "X"}, metrics=metrics)
    made = configurations.create_configuration(wanted)
    assert (made.id, made.priority, made.labels) == ("python-1", 5, {"App": "X"})
    assert made.etag and made.created_time_utc and made.schema_version == "1.0"
    assert status(configurations.create_configuration, wanted) == 409

    def settings(name):
        return registry.get_twin(name).properties.desired.get("settings")

    eventually(lambda: settings(first) == {"value": 1}, what="the configuration in the twin")
    second, _ = new_device("configured")
    assert settings(second) is None
    tagged(registry, second, {"line": "python-1"})
    eventually(lambda: settings(second) == {"value": 1}, what="the configuration in a twin that came later")

    def counted():
        got = configurations.get_configuration("python-1")
        both = got.system_metrics.results.get("targetedCount"), got.system_metrics.results.get("appliedCount")
        return both == (2, 2) and got.metrics.results == {"set": 2}

    eventually(counted, what="metrics")

    made.priority = 6
    changed = configurations.update_configuration(made, made.etag)
    assert changed.priority == 6 and changed.etag != made.etag
    assert status(configurations.update_configuration, made, made.etag) == 412
    assert "python-1" in [one.id for one in configurations.get_configurations(100)]

    higher = configuration("python-2", f"deviceId = '{first}'", 2, priority=7)
    configurations.create_configuration(higher)
    eventually(lambda: settings(first) == {"value": 2}, what="the stronger configuration")
    configurations.delete_configuration("python-2")
    eventually(lambda: settings(first) == {"value": 1}, what="the weaker configuration again")
    configurations.delete_configuration("python-1")
    assert status(configurations.get_configuration, "python-1") == 404
    assert settings(second) == {"value": 1}


@pytest.mark.feature("configurations")
def test_queries_are_tried(configurations):
    tried = ConfigurationQueriesTestInput(
        target_condition="tags.line =", custom_metric_queries={"good": "SELECT deviceId FROM devices", "bad": "SELECT"}
    )
    answer = configurations.test_configuration_queries(tried)
    assert "line 1" in answer.target_condition_error
    assert list(answer.custom_metric_query_errors) == ["bad"]
    assert status(configurations.create_configuration, configuration("python-bad", "tags.line =", 1)) == 400
