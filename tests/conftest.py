"""Fixtures that every Python test shares: one running hub, and the ready line it printed."""

import pytest

from ironbrook import Dev, trust

pytest_plugins = ["cells"]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="long versions of the tests that have one")


@pytest.fixture(scope="session")
def slow(request):
    """Whether the long versions are wanted."""
    return request.config.getoption("--slow")


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """A running hub for all tests that do not break it."""
    hub = Dev(tmp_path_factory.mktemp("hub"))
    trust(hub.start())
    yield hub
    hub.stop()
    # Stock clients do nothing wrong, so the log may not say that they did.
    assert "breaks the protocol" not in hub.log()


@pytest.fixture(scope="session")
def dev(hub):
    """The ready line of that hub, as a dict."""
    return hub.ready
