"""Raspberry Pi Pico W: ADC, Wi-Fi, and the clock set by NTP."""

import time

import machine
import network
import ntptime

from boards import common

WIFI_TIMEOUT_MS = 20000
NTP_TRIES = 5


class Board:
    """The hardware as the program sees it."""

    def __init__(self, config):
        self.config = config
        self.adc = machine.ADC(config["adc_pin"])
        wifi = config["wifi"]
        if wifi["country"]:
            network.country(wifi["country"])
        self.wlan = network.WLAN(network.STA_IF)

    def read_adc(self):
        """Mean of some readings, 0..65535: the Pico's ADC has a few bits of noise."""
        count = self.config["samples"]
        return sum(self.adc.read_u16() for _ in range(count)) // count

    def connect_network(self):
        """Joins the Wi-Fi if it is not joined; OSError if that takes too long."""
        if self.wlan.isconnected():
            return
        wifi = self.config["wifi"]
        # Off and on again: after a lost access point the radio does not always recover by itself.
        self.wlan.active(False)
        self.wlan.active(True)
        self.wlan.connect(wifi["ssid"], wifi["password"])
        deadline = time.ticks_add(time.ticks_ms(), WIFI_TIMEOUT_MS)
        while not self.wlan.isconnected():
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                raise OSError("Wi-Fi not joined, status %d: check ssid and password" % self.wlan.status())
            time.sleep_ms(200)
        print("Wi-Fi joined, address", self.wlan.ifconfig()[0])

    def set_clock(self):
        """Sets the clock by NTP; a lost packet is ordinary, so it tries some times."""
        ntptime.host = self.config["ntp_server"]
        for attempt in range(NTP_TRIES):
            try:
                ntptime.settime()
                print("clock set:", common.timestamp())
                return
            except OSError:
                time.sleep_ms(1000)
        raise OSError("no answer from time server " + ntptime.host)

    def now(self):
        """Unix seconds."""
        return common.unix_time()

    def timestamp(self):
        """Now as ISO 8601."""
        return common.timestamp()
