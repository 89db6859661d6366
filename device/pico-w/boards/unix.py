"""MicroPython's unix port: a simulated sensor; network and clock are the system's."""

import math
import random
import time

from boards import common

# The simulated temperature swings once in this time.
PERIOD_MS = 600000


class Board:
    """The same methods as the real board's."""

    def __init__(self, config):
        self.config = config
        self.started = time.ticks_ms()

    def read_adc(self):
        """What the ADC would read at the simulated temperature, noise included; or at a simulated fault."""
        simulation = self.config["simulation"]
        if simulation["fault"] == "open":
            return 65535
        if simulation["fault"] == "short":
            return 0
        phase = time.ticks_diff(time.ticks_ms(), self.started) / PERIOD_MS
        celsius = simulation["celsius"] + simulation["swing"] * math.sin(2 * math.pi * phase)
        constants = self.config["thermistor"]
        # The Beta equation the other way round.
        inverse = 1 / (celsius + 273.15) - 1 / 298.15
        ohm = constants["r25"] * math.exp(constants["beta"] * inverse)
        noise = (random.getrandbits(16) / 32768 - 1) * simulation["noise"]
        adc = round(65535 * ohm / (ohm + constants["series"]) + noise)
        return min(max(adc, 0), 65535)

    def connect_network(self):
        """The system is on its network already."""

    def set_clock(self):
        """The system keeps its clock."""

    def now(self):
        """Unix seconds."""
        return common.unix_time()

    def timestamp(self):
        """Now as ISO 8601."""
        return common.timestamp()
