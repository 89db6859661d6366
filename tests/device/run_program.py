"""Runs the unmodified device program under CPython: run_program.py CONFIG."""

import os
import pathlib
import sys

import shims

if __name__ == "__main__":
    shims.install()
    sys.path[:0] = [str(pathlib.Path(__file__).parents[2] / "device" / "pico-w"), os.environ["UMQTT_PATH"]]
    import main

    try:
        main.main()
    except KeyboardInterrupt:
        pass
