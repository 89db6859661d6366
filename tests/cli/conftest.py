"""Hubs of the command tests. They hold the standard ports, so there is one at a time: one per file, or one per test."""

import pytest

from ironbrook import Dev, trust

QUICK = "[storage]\nbatch_seconds = 1\n"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Options for a hub with blobs every second, and nothing of its own that sends while a test looks."""
    path = tmp_path_factory.mktemp("config") / "quick.toml"
    path.write_text(QUICK)
    return ["--config", str(path), "--no-thermistor", "--no-edge"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory, quick):
    """A running hub for the tests of a file that do not break it."""
    hub = Dev(tmp_path_factory.mktemp("hub"), *quick)
    trust(hub.start())
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def dev(hub):
    """The ready line of that hub, as a dict."""
    return hub.ready


@pytest.fixture
def new_hub(tmp_path, quick):
    """Makes a hub in a folder of its own; not started."""
    hubs = []

    def make(*arguments):
        hubs.append(Dev(tmp_path, *quick, *arguments))
        return hubs[-1]

    yield make
    for hub in hubs:
        if hub.process and hub.process.poll() is None:
            hub.kill()
