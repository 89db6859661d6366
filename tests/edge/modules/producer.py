"""Sends numbers to its output, and writes each to the file ACKNOWLEDGED once the edge hub has acknowledged it.

At most WINDOW are without acknowledgement. After a start it goes on behind the last that was acknowledged, so those that were
under way come twice. Ends when its connection does.
"""

import collections
import json
import os
import queue
import time

import plain

WINDOW = 20
LOOK_AGAIN = 0.01


def main():
    rate = float(os.environ["RATE"])
    acknowledged = plain.Numbers(os.environ["ACKNOWLEDGED"])
    last = acknowledged.last()
    number = 0 if last is None else last + 1
    connection = plain.Module()
    topic = f"{connection.path}/messages/events/%24.on=numbers&%24.ct=application%2Fjson&%24.ce=utf-8"
    in_flight, sent, begun = collections.deque(), 0, time.monotonic()
    while True:
        while len(in_flight) < WINDOW and sent < (time.monotonic() - begun) * rate:
            in_flight.append((connection.publish(topic, json.dumps({"number": number})), number))
            number, sent = number + 1, sent + 1
        try:
            what, which = connection.next(LOOK_AGAIN)
        except queue.Empty:
            continue
        if what == "closed":
            raise SystemExit("the connection ended")
        # The edge hub acknowledges in order.
        packet, done = in_flight.popleft()
        assert (what, which) == ("puback", packet), (what, which, packet)
        acknowledged.add(done)


if __name__ == "__main__":
    main()
