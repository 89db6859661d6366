"""Deployments at scale: the edge device gets what its tags bring it, layer over base, and the next one when one goes."""

import edge
from azure.iot.hub.models import Configuration, ConfigurationContent, Twin
from edge import AGENT, DESIRED, HUB, SENSOR_IMAGE
from ironbrook import eventually

SENSOR, EXTRA = "sensor", "extra"


def deploy(site, name, modules_content, priority):
    content = ConfigurationContent(modules_content=modules_content)
    wanted = Configuration(id=name, content=content, target_condition="tags.line = 'a'", priority=priority)
    site.device.configurations.create_configuration(wanted)


def test_base_and_layer_run_and_go_again(site):
    device = site.device
    sensor = edge.module(SENSOR_IMAGE, {"MessageCount": 5})
    base = edge.manifest({SENSOR: sensor}, {"up": f"FROM /messages/modules/{SENSOR}/* INTO $upstream"})
    deploy(site, "base", base["modulesContent"], 1)
    layer = {
        AGENT: {f"{DESIRED}.modules.{EXTRA}": sensor},
        HUB: {f"{DESIRED}.routes.extra": f"FROM /messages/modules/{EXTRA}/* INTO $upstream"},
        EXTRA: {f"{DESIRED}.settings": {"a": 1}},
    }
    deploy(site, "layer", layer, 2)
    device.registry.update_twin(device.name, Twin(tags={"line": "a"}), device.registry.get_twin(device.name).etag)

    def deployed(*names):
        return set(device.desired(AGENT).get("modules", {})) == set(names)

    eventually(lambda: deployed(SENSOR, EXTRA), what="both deployments in the twin")
    assert set(device.running()) == {"edgeAgent", "edgeHub", SENSOR, EXTRA}
    assert device.desired(EXTRA)["settings"] == {"a": 1}

    def successful():
        results = device.configurations.get_configuration("base").system_metrics.results
        return (results["appliedCount"], results["reportedSuccessfulCount"], results["reportedFailedCount"]) == (1, 1, 0)

    eventually(successful, what="the metrics of the deployment")
    device.configurations.delete_configuration("layer")
    eventually(lambda: deployed(SENSOR), what="the deployment without its layer")
    assert set(device.running()) == {"edgeAgent", "edgeHub", SENSOR}
