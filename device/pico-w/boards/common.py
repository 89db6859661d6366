"""Time, the same on every board."""

import time

# MicroPython counts from 2000 on some ports and from 1970 on others; the port says which.
EPOCH_OFFSET = 946684800 if time.gmtime(0)[0] == 2000 else 0


def unix_time():
    """Whole seconds since 1970-01-01 UTC."""
    return int(time.time()) + EPOCH_OFFSET


def timestamp():
    """Now as ISO 8601 in UTC, such as 2026-01-31T09:00:00Z."""
    year, month, day, hour, minute, second = time.gmtime()[:6]
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % (year, month, day, hour, minute, second)
