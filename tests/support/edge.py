"""Edge devices as the hub sees them, an edge runtime as a process of its own, and deployment manifests."""

import json
import pathlib

from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, ConfigurationContent

import command
from ironbrook import Program, eventually, parse

AGENT, HUB = "$edgeAgent", "$edgeHub"
REGISTRY = "mcr.microsoft.com"
SENSOR_IMAGE = f"{REGISTRY}/azureiotedge-simulated-temperature-sensor:1.5"
SQL_IMAGE = f"{REGISTRY}/azure-stream-analytics/azureiotedge:1.0.14-linux-amd64"
RUNNING_WITHIN = 60
# Desired properties come first in a message of a deployment, reported ones last.
DESIRED = "properties.desired"


class EdgeRun(Program):
    """`ironbrook edge run`, a device of a hub that runs elsewhere."""

    def __init__(self, folder, ready, device, config):
        self.data_dir = pathlib.Path(folder) / "edge-data"
        connect = ["--connection-string", device.connection_string, "--ca", ready["ca_file"]]
        where = ["--data-dir", self.data_dir, "--config", config]
        super().__init__(folder, "edge", "run", *connect, *where, log="edge-log.txt")


def images_file(folder, images, text=""):
    """A configuration file in which commands stand for images: {repository: [program, argument, ...]}."""
    path = pathlib.Path(folder) / "edge.toml"
    tables = (
        f"[[edge.images]]\nrepository = {json.dumps(repository)}\ncommand = {json.dumps([str(word) for word in words])}\n"
        for repository, words in images.items()
    )
    path.write_text(text + "".join(tables))
    return path


def module(image, env=None, **members):
    """A module's entry in a deployment."""
    entry = {"version": "1.0", "type": "docker", "status": "running", "restartPolicy": "always"}
    entry["settings"] = {"image": image, "createOptions": "{}"}
    entry["env"] = {name: {"value": value} for name, value in (env or {}).items()}
    return {**entry, **members}


def manifest(modules, routes, twins=None):
    """A whole deployment; `twins` are the desired properties of modules."""
    system = {
        "edgeAgent": {"type": "docker", "settings": {"image": f"{REGISTRY}/azureiotedge-agent:1.5", "createOptions": "{}"}},
        "edgeHub": module(f"{REGISTRY}/azureiotedge-hub:1.5"),
    }
    runtime = {"type": "docker", "settings": {"minDockerVersion": "v1.25", "loggingOptions": "", "registryCredentials": {}}}
    agent = {"schemaVersion": "1.1", "runtime": runtime, "systemModules": system, "modules": modules}
    hub = {"schemaVersion": "1.1", "routes": routes, "storeAndForwardConfiguration": {"timeToLiveSecs": 7200}}
    sections = {AGENT: agent, HUB: hub, **(twins or {})}
    return {"modulesContent": {name: {DESIRED: section} for name, section in sections.items()}}


def section(document, name):
    """The desired properties of one module in a deployment, to look at or to change."""
    return document["modulesContent"][name][DESIRED]


class Device:
    """An edge device in the hub's eyes, through the stock service client."""

    def __init__(self, ready, name, connection_string=None):
        self.name = name
        self.connection_string = connection_string
        service = ready["hub_connection_string"]
        self.registry = IoTHubRegistryManager.from_connection_string(service)
        self.configurations = IoTHubConfigurationManager.from_connection_string(service)

    @classmethod
    def create(cls, ready, name):
        """Makes it in the hub."""
        device = cls(ready, name)
        made = device.registry.create_device_with_sas(name, "", "", "enabled", iot_edge=True)
        host = parse(ready["hub_connection_string"])["HostName"]
        key = made.authentication.symmetric_key.primary_key
        device.connection_string = f"HostName={host};DeviceId={name};SharedAccessKey={key}"
        return device

    def apply(self, document):
        """Sets its modules, as any tool does with the service API."""
        content = ConfigurationContent(modules_content=document["modulesContent"])
        self.configurations.apply_configuration_on_edge_device(self.name, content)

    def desired(self, module):
        """Desired properties with `$version`."""
        return self.registry.get_module_twin(self.name, module).properties.desired

    def reported(self, module):
        """Reported properties."""
        return self.registry.get_module_twin(self.name, module).properties.reported

    def deployed(self):
        """What is deployed now, as a manifest."""
        names = [AGENT, HUB, *self.desired(AGENT)["modules"]]
        strip = lambda section: {key: value for key, value in section.items() if key not in ("$metadata", "$version")}
        return {"modulesContent": {name: {DESIRED: strip(self.desired(name))} for name in names}}

    def status(self, module=AGENT):
        """`lastDesiredStatus` of the newest desired properties, as (code, description); None while it is of older ones."""
        reported = self.reported(module)
        if reported.get("lastDesiredVersion") != self.desired(module)["$version"]:
            return None
        status = reported["lastDesiredStatus"]
        return status["code"], status["description"]

    def modules(self):
        """What the agent reports of all modules, the system's among them."""
        reported = self.reported(AGENT)
        return {**reported.get("systemModules", {}), **reported.get("modules", {})}

    def running(self, timeout=RUNNING_WITHIN):
        """Waits until the newest deployment runs, and gives its modules."""
        seen = []

        def is_running():
            seen[:] = [self.status(AGENT), self.status(HUB), self.modules()]
            agent, hub, modules = seen
            wanted = {*self.desired(AGENT)["modules"], "edgeAgent", "edgeHub"}
            states = {name: entry["runtimeStatus"] for name, entry in modules.items()}
            good = agent == hub == (200, "") and states == dict.fromkeys(wanted, "running")
            return modules if good else None

        try:
            return eventually(is_running, timeout, "all modules running")
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(seen)}") from None

    def call(self, module, method, payload=None, timeout=30):
        """A direct method; gives (status, payload)."""
        request = CloudToDeviceMethod(
            method_name=method, payload=payload, response_timeout_in_seconds=timeout, connect_timeout_in_seconds=timeout
        )
        answer = self.registry.invoke_device_module_method(self.name, module, request)
        return answer.status, answer.payload


def listed(data_dir):
    """What `ironbrook edge list` prints: {name: (status, description, config)}."""
    out, _ = command.run("edge", "list", "--data-dir", data_dir)
    head, *rows = out.splitlines()
    names = ["NAME", "STATUS", "DESCRIPTION", "CONFIG"]
    assert head.split() == names, out
    ends = [head.index(name) for name in names[1:]] + [None]
    cells = [[row[begin:end].strip() for begin, end in zip([0, *ends], ends)] for row in rows]
    return {name: (status, description, config) for name, status, description, config in cells}


def of_module(events, device, module):
    """Only what one module has sent, in order."""
    wanted = {b"iothub-connection-device-id": device.encode(), b"iothub-connection-module-id": module.encode()}
    return [event for _, event in events if wanted.items() <= event.system_properties.items()]
