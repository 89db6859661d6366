"""The configuration file: defaults, checks, and the device's connection string taken apart."""

import json
import os
import sys

MIN_INTERVAL = 0.2
MAX_INTERVAL = 3600

DEFAULTS = {
    "connection_string": "",
    "address": "",  # dialled instead of the host name, where the network has no name service for it
    "port": 8883,
    "ca_file": "ca.pem",
    "interval": 5,
    "token_lifetime": 3600,
    "ntp_server": "pool.ntp.org",
    "adc_pin": 26,
    "samples": 16,
    "count": 0,
    "wifi": {"ssid": "", "password": "", "country": ""},
    "thermistor": {
        "model": "beta",
        "series": 10000,
        "r25": 10000,
        "beta": 3950,
        "a": 1.129148e-3,
        "b": 2.34125e-4,
        "c": 8.76741e-8,
        "offset": 0,
    },
    "simulation": {"celsius": 21.5, "swing": 1.5, "noise": 12, "fault": ""},
}


def path():
    """First argument, else the environment (both only on the unix port), else ./config.json."""
    if len(sys.argv) > 1:
        return sys.argv[1]
    getenv = getattr(os, "getenv", None)
    return (getenv and getenv("IRONBROOK_DEVICE_CONFIG")) or "config.json"


def load(name):
    """Reads the file and fills in defaults; a wrong file stops the program with the reason."""
    with open(name) as file:
        return complete(json.load(file), folder=name.rpartition("/")[0])


def complete(given, folder=""):
    """Defaults under what is given, one level deep. Unknown names are errors: they are typing errors."""
    config = merge(DEFAULTS, given, "")
    config["interval"] = check_interval(config["interval"])
    if config["thermistor"]["model"] not in ("beta", "steinhart-hart"):
        raise ValueError("thermistor.model is beta or steinhart-hart")
    if config["token_lifetime"] < 120:
        raise ValueError("token_lifetime is at least 120 s")
    ca = config["ca_file"]
    if folder and not ca.startswith("/"):
        config["ca_file"] = folder + "/" + ca
    config.update(parse_connection_string(config["connection_string"]))
    return config


def merge(defaults, given, prefix):
    for name in given:
        if name not in defaults:
            raise ValueError("unknown setting " + prefix + name)
    out = {}
    for name, default in defaults.items():
        value = given.get(name, default)
        out[name] = merge(default, value, name + ".") if isinstance(default, dict) else value
    return out


def check_interval(seconds):
    """Seconds between readings; a message from the hub is checked by the same rule."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError("interval is a number of seconds")
    if not MIN_INTERVAL <= seconds <= MAX_INTERVAL:
        raise ValueError("interval is %s to %s seconds" % (MIN_INTERVAL, MAX_INTERVAL))
    return seconds


def parse_connection_string(text):
    """HostName=...;DeviceId=...;SharedAccessKey=... as the hub hands it out."""
    parts = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        parts[name] = value
    try:
        return {"host": parts["HostName"], "device": parts["DeviceId"], "key": parts["SharedAccessKey"]}
    except KeyError as error:
        # The text itself is never part of the error: it holds the key.
        raise ValueError("connection_string lacks " + str(error.args[0]))
