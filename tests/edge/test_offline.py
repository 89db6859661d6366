"""The edge goes on while the hub is away, and the hub gets everything when it is back."""

import pytest

import edge
import processes
from conftest import EDGE
from counted import CONSUMER, PRODUCER, Counted, at_events_endpoint, complete, repeats
from ironbrook import eventually

RATE = 50
AWAY_SECONDS, SLOW_AWAY_SECONDS = 10, 120
CATCH_UP = 60


@pytest.fixture
def counted(apart, tmp_path):
    """Numbers on their way, to the hub and to the consumer."""
    counted = Counted(tmp_path, RATE)
    counted.deploy(apart.device)
    eventually(lambda: len(counted.acknowledged()) > RATE and len(counted.received()) > RATE, what="load")
    return counted


def end(program, how):
    program.stop() if how == "stopped" else program.kill()


def goes_on(counted, more, timeout):
    """Waits until so many more numbers are acknowledged, and have come to the consumer."""
    wanted = counted.acknowledged()[-1] + more
    eventually(lambda: counted.acknowledged()[-1] >= wanted, timeout, "acknowledgements")
    eventually(lambda: counted.received()[-1] >= wanted, CATCH_UP, "the consumer")


def all_arrived(site, counted):
    last, acknowledged = counted.acknowledged()[-1], counted.acknowledged()
    found = at_events_endpoint(site.ready, EDGE, last)
    complete(found, acknowledged, "at the events endpoint")
    eventually(lambda: counted.received()[-1] >= last, CATCH_UP, "the consumer")
    complete(counted.received(), acknowledged, "at the consumer")
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_what_modules_send_waits_for_the_hub(apart, counted, slow, how):
    seconds = SLOW_AWAY_SECONDS if slow else AWAY_SECONDS
    end(apart.hub, how)
    goes_on(counted, seconds * RATE, 3 * seconds + CATCH_UP)
    apart.hub.start()
    found = all_arrived(apart, counted)
    # What was under way when the hub went may have come twice, nothing else.
    assert len(repeats(found)) <= 1, repeats(found)
    # Between modules the hub has no part.
    assert repeats(counted.received()) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_an_edge_without_its_hub_starts_from_its_disk(apart, counted, how):
    apart.hub.stop()
    end(apart.runtime, how)
    eventually(lambda: not processes.modules(apart.data_dir), 30, "the end of all modules")
    apart.runtime.start()
    goes_on(counted, 2 * RATE, CATCH_UP)
    states = {name: row[0] for name, row in edge.listed(apart.data_dir).items()}
    assert states == dict.fromkeys(["edgeAgent", "edgeHub", PRODUCER, CONSUMER], "running")
    apart.hub.start()
    all_arrived(apart, counted)
    apart.device.running()
