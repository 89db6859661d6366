"""Thermistor on a Raspberry Pi Pico W: read, convert, send, and do what the hub says.

Start here. The way of one reading: board.read_adc() -> thermistor.reading() -> a queue of unsent
readings -> hub.Hub.send(), which returns once the hub has acknowledged it. The same files run on
MicroPython's unix port, where a simulated sensor takes the place of the ADC:

    MICROPYPATH=.frozen:lib micropython main.py [config.json]
"""

import sys
import time

import settings
import thermistor
from hub import Hub

# Readings kept while the hub cannot be reached; the oldest go first. About 16 KB of memory.
MAX_UNSENT = 120
# How often an idle connection looks for a message from the hub.
POLL_MS = 200


def load_board(config):
    """The board file for this machine: nothing else in the program knows the hardware."""
    if sys.platform == "rp2":
        from boards.pico_w import Board
    else:
        from boards.unix import Board
    return Board(config)


class Program:
    """The sensor's life: measure on time, send when possible, never stop."""

    def __init__(self, config, board):
        self.config = config
        self.board = board
        self.hub = Hub(config, board, self.on_message)
        self.interval = config["interval"]
        self.sequence = 0
        self.unsent = []

    def on_message(self, message):
        """A message from the hub: {"interval": seconds} changes how often a reading is taken."""
        try:
            self.interval = settings.check_interval(message["interval"])
        except (KeyError, TypeError, ValueError) as error:
            print("message from the hub ignored:", error)
            return
        print("interval is now", self.interval, "s")

    def measure(self):
        """Takes one reading and puts it last in the queue."""
        adc = self.board.read_adc()
        telemetry = thermistor.reading(adc, self.config["thermistor"])
        self.sequence += 1
        telemetry["sequence"] = self.sequence
        telemetry["timeCreated"] = self.board.timestamp()
        if len(self.unsent) >= MAX_UNSENT:
            self.unsent.pop(0)
        self.unsent.append(telemetry)

    def deliver(self):
        """Sends what is queued, in order; a reading leaves the queue only when it is acknowledged."""
        while self.unsent and self.hub.ready():
            telemetry = self.unsent[0]
            properties = {"fault": telemetry["fault"]} if "fault" in telemetry else {}
            if not self.hub.send(telemetry, properties):
                return
            self.unsent.pop(0)
            print("sent", telemetry)

    def run(self):
        """Runs until `count` readings are acknowledged; for ever with a count of 0."""
        count = self.config["count"]
        due = time.ticks_ms()
        while True:
            if time.ticks_diff(time.ticks_ms(), due) >= 0:
                if not count or self.sequence < count:
                    self.measure()
                due = time.ticks_add(time.ticks_ms(), int(self.interval * 1000))
            before = self.interval
            self.deliver()
            if count and self.sequence >= count and not self.unsent:
                break
            self.hub.poll()
            if self.interval != before:
                # A shorter interval holds at once, not after the old one has run out.
                due = time.ticks_add(time.ticks_ms(), int(self.interval * 1000))
            time.sleep_ms(POLL_MS)
        self.hub.close()


def main():
    config = settings.load(settings.path())
    board = load_board(config)
    Program(config, board).run()


if __name__ == "__main__":
    main()
