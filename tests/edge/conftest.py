"""Edge devices of the tests. Hub and edge hub hold the standard ports, so there is one pair at a time: one per file, or one per test."""

import pathlib
import shutil
import sys

import pytest

import edge
from edge import EdgeRun
from ironbrook import Dev, trust

PROGRAMS = pathlib.Path(__file__).parent / "modules"
EDGE = "edge-1"


def python(program, *arguments):
    """The command of a module in this folder."""
    return [sys.executable, PROGRAMS / f"{program}.py", *arguments]


def node(program, *arguments):
    """The same for one in JavaScript. Modules do not see this process' PATH as their own choice, so it is the whole path."""
    return [shutil.which("node"), PROGRAMS / f"{program}.mjs", *arguments]


# What the operator lets run: the deployment names the image, this file the command.
IMAGES = {
    "example.test/producer": python("producer"),
    "example.test/consumer": python("consumer"),
    "example.test/python": python("workbench"),
    "example.test/python-websockets": python("workbench", "websockets"),
    "example.test/node-mqtt": node("workbench", "mqtt"),
    "example.test/node-mqtt-ws": node("workbench", "mqttWs"),
    "example.test/node-amqp": node("workbench", "amqp"),
    "example.test/node-amqp-ws": node("workbench", "amqpWs"),
}


class Site:
    """A running edge device: what started it, where its data is, and how the hub sees it."""

    def __init__(self, hub, runtime, device):
        self.hub = hub
        self.runtime = runtime
        self.device = device

    @property
    def ready(self):
        return self.hub.ready

    @property
    def data_dir(self):
        return self.runtime.data_dir


def stop(*programs):
    """As Ctrl-C does, one after the other; what has ended already or does not heed it is killed."""
    for program in programs:
        if program.process and program.process.poll() is None:
            try:
                program.stop()
            except BaseException:
                program.kill()
                raise


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """`dev` with its edge device, for the tests of a file that do not break it."""
    folder = tmp_path_factory.mktemp("dev")
    hub = Dev(folder, "--no-thermistor", "--config", edge.images_file(folder, IMAGES))
    try:
        trust(hub.start())
        yield Site(hub, hub, edge.Device(hub.ready, EDGE))
    finally:
        stop(hub)


@pytest.fixture
def apart(tmp_path):
    """`dev` without and `edge run` with the edge device, each a process of its own, for tests that break them."""
    hub = Dev(tmp_path, "--no-thermistor", "--no-edge")
    programs = [hub]
    try:
        trust(hub.start())
        device = edge.Device.create(hub.ready, EDGE)
        runtime = EdgeRun(tmp_path, hub.ready, device, edge.images_file(tmp_path, IMAGES))
        programs.insert(0, runtime)
        runtime.start()
        yield Site(hub, runtime, device)
    finally:
        stop(*programs)
