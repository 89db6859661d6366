"""Writes the numbers that come to its input into the file RECEIVED, each before it is acknowledged. Ends when its connection does."""

import json
import os

import plain

FOREVER = 7 * 24 * 3600


def main():
    received = plain.Numbers(os.environ["RECEIVED"])
    connection = plain.Module(lambda message: received.add(json.loads(message.payload)["number"]))
    connection.client.subscribe(f"{connection.path}/inputs/#", qos=1)
    while connection.next(FOREVER)[0] != "closed":
        pass
    raise SystemExit("the connection ended")


if __name__ == "__main__":
    main()
