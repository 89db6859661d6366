"""Deployments in which one module sends numbers to the hub and to another module, and what must be true of the numbers."""

import pathlib

import edge
import events

PRODUCER, CONSUMER = "producer", "consumer"
ROUTES = {
    "numbersToCloud": f"FROM /messages/modules/{PRODUCER}/outputs/numbers INTO $upstream",
    "numbersToConsumer": f'FROM /messages/modules/{PRODUCER}/* INTO BrokeredEndpoint("/modules/{CONSUMER}/inputs/numbers")',
}
# The stock client reads some thousand events a second here; a busy machine may take several times as long.
READ_PER_SECOND_MIN = 500


class Counted:
    """A producer and a consumer with the files they write."""

    def __init__(self, folder, rate):
        self.acknowledged_file = pathlib.Path(folder) / "acknowledged.txt"
        self.received_file = pathlib.Path(folder) / "received.txt"
        self.modules = {
            PRODUCER: edge.module(
                "example.test/producer:1.0", {"RATE": str(rate), "ACKNOWLEDGED": str(self.acknowledged_file)}
            ),
            CONSUMER: edge.module("example.test/consumer:1.0", {"RECEIVED": str(self.received_file)}),
        }

    def deploy(self, device):
        """Sets the modules and waits for them. The routes come first: what is sent before them is not theirs."""
        consumer = {CONSUMER: self.modules[CONSUMER]}
        for modules in (consumer, self.modules):
            device.apply(edge.manifest(modules, ROUTES))
            device.running()

    def acknowledged(self):
        """What the edge hub acknowledged to the producer, in order."""
        return read(self.acknowledged_file)

    def received(self):
        """What the consumer acknowledged to the edge hub, in order, and maybe one more after each of its ends."""
        return read(self.received_file)


def read(path):
    """The numbers of a file; a line without its end is not yet one."""
    text = path.read_text() if path.exists() else ""
    return [int(line) for line in text[: text.rfind("\n") + 1].split()]


def at_events_endpoint(ready, device, last, module=PRODUCER):
    """The numbers of a module there in order of arrival, read until `last` has come."""
    numbers, looked_at = [], 0

    def enough(got):
        nonlocal looked_at
        numbers.extend(event.body_as_json()["number"] for event in edge.of_module(got[looked_at:], device, module))
        looked_at = len(got)
        return bool(numbers) and numbers[-1] >= last

    # Long loads take long to read: stopping before the end would look like a loss.
    enough(events.read(ready, enough, timeout=60 + last / READ_PER_SECOND_MIN))
    return numbers


def complete(found, acknowledged, where):
    """Nothing that was acknowledged is missing, and a number came for the first time only after all before it."""
    missing = sorted(set(acknowledged) - set(found))
    assert not missing, f"{len(missing)} are not {where}: {missing[0]} to {missing[-1]}"
    first_seen = list(dict.fromkeys(found))
    assert first_seen == sorted(first_seen), f"out of order {where}: {disorder(first_seen)}"


def repeats(found):
    """The stretches that came again: how many numbers each step back took again."""
    return [before - after + 1 for before, after in zip(found, found[1:]) if after <= before]


def disorder(numbers):
    """Where the first number is that is lower than its predecessor, with its neighbours."""
    at = next(index for index in range(1, len(numbers)) if numbers[index] < numbers[index - 1])
    return numbers[max(0, at - 3) : at + 3]
