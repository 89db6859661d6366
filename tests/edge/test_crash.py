"""kill -9 of edge, hub and modules in turn, under load.

What holds, and is asserted:

- Every number the edge hub acknowledged to the producer comes to the events endpoint and to the consumer, the first time in order.
- Numbers come again only after a kill, each time as one stretch that ends where the first pass ended:
  at the events endpoint what the producer had without acknowledgement (20 at most) after the producer was killed, what was in a
  batch to the hub (256) after the hub was killed, and both after the edge was, since all three end then;
  at the consumer the producer's 20 likewise, and the messages unsettled on its connection (64) after it or the edge was killed.
- With the edge end all processes it started.
"""

import os
import random
import signal

import pytest

import command
import processes
from conftest import EDGE
from counted import CONSUMER, PRODUCER, Counted, at_events_endpoint, complete, repeats
from ironbrook import eventually

RATE = 300
ROUNDS, SLOW_ROUNDS = 2, 25
VICTIMS = ["edge", "hub", PRODUCER, CONSUMER]
# Numbers without acknowledgement: of the producer, of a batch to the hub, on a connection of a module.
PRODUCER_WINDOW, UPSTREAM_BATCH, INPUT_WINDOW = 20, 256, 64
GONE_WITHIN = 10


class Site:
    def __init__(self, apart, counted):
        self.apart = apart
        self.counted = counted
        self.killed = dict.fromkeys(VICTIMS, 0)

    def load(self, more):
        """Waits until so many more numbers are acknowledged, and have come to the consumer."""
        acknowledged = self.counted.acknowledged()
        wanted = (acknowledged[-1] if acknowledged else 0) + more
        numbers = (self.counted.acknowledged, self.counted.received)
        eventually(lambda: all(any(n >= wanted for n in read()[-1:]) for read in numbers), 60, f"load up to {wanted}")

    def kill(self, victim):
        """Kills it, and sees that it comes back."""
        self.killed[victim] += 1
        if victim == "edge":
            self.kill_edge()
        elif victim == "hub":
            self.apart.hub.kill()
            self.apart.hub.start()
        else:
            process = processes.of_module(self.apart.data_dir, victim)
            os.kill(process.pid, signal.SIGKILL)
            eventually(lambda: not processes.alive({process}), GONE_WITHIN, "its end")
            # The agent would wait longer each time.
            command.run("edge", "restart", "--data-dir", self.apart.data_dir, victim)

    def kill_edge(self):
        runtime = self.apart.runtime
        started = processes.tree(runtime.process.pid)
        assert len(started) >= 3, "the edge and two modules"
        runtime.kill()
        data_dir = self.apart.data_dir
        gone = lambda: not processes.alive(started) and not processes.modules(data_dir)
        eventually(gone, GONE_WITHIN, "the end of what it started")
        runtime.start()


@pytest.mark.timeout(1800)
def test_no_acknowledged_message_is_lost(apart, tmp_path, slow):
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    counted = Counted(tmp_path, RATE)
    site = Site(apart, counted)
    counted.deploy(apart.device)
    for _ in range(SLOW_ROUNDS if slow else ROUNDS):
        for victim in chance.sample(VICTIMS, len(VICTIMS)):
            site.load(chance.randrange(100, 600))
            site.kill(victim)
    site.load(100)

    acknowledged = counted.acknowledged()
    last = acknowledged[-1]
    assert acknowledged == list(range(last + 1))
    found = at_events_endpoint(apart.ready, EDGE, last)
    complete(found, acknowledged, "at the events endpoint")
    edge, hub, producer, consumer = (site.killed[victim] for victim in VICTIMS)
    few(repeats(found), 2 * edge + hub + producer, UPSTREAM_BATCH)

    eventually(lambda: counted.received()[-1] >= last, 60, "the consumer")
    received = counted.received()
    complete(received, acknowledged, "at the consumer")
    few(repeats(received), 2 * edge + producer + consumer, INPUT_WINDOW)


def few(stretches, at_most, length):
    assert len(stretches) <= at_most, stretches
    assert all(one <= length for one in stretches), stretches


@pytest.mark.timeout(180)
def test_a_module_that_ends_is_started_again_after_its_time(apart, tmp_path):
    counted = Counted(tmp_path, RATE)
    counted.deploy(apart.device)
    os.kill(processes.of_module(apart.data_dir, CONSUMER).pid, signal.SIGKILL)
    told = lambda: apart.device.modules()[CONSUMER]
    eventually(lambda: told()["runtimeStatus"] == "backoff", 30, "backoff")
    assert told()["exitCode"] == 128 + signal.SIGKILL
    after = apart.device.running()[CONSUMER]
    assert after["restartCount"] == 1
    assert after["lastExitTimeUtc"] < after["lastStartTimeUtc"] <= after["lastRestartTimeUtc"]
    # While it was away, its messages waited.
    last = counted.acknowledged()[-1]
    eventually(lambda: any(n >= last for n in counted.received()[-1:]), 60, "the consumer")
    complete(counted.received(), range(last + 1), "at the consumer")
