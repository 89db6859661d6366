"""Runs the unmodified device program under CPython: run_program.py CONFIG."""

import os
import pathlib
import signal
import sys

import shims

if __name__ == "__main__":
    # What runs in a shell's background starts with SIGINT ignored, and Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shims.install()
    sys.path[:0] = [str(pathlib.Path(__file__).parents[2] / "device" / "pico-w"), os.environ["UMQTT_PATH"]]
    import main

    try:
        main.main()
    except KeyboardInterrupt:
        pass
