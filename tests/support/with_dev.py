"""Runs a command with a hub beside it: with_dev.py COMMAND...

The command finds the hub's ready line in the variable IRONBROOK_READY and the CA in those that stock clients read.
"""

import json
import os
import subprocess
import sys
import tempfile

from ironbrook import Dev, environment


def main():
    with tempfile.TemporaryDirectory(prefix="ironbrook-") as folder:
        dev = Dev(folder)
        ready = dev.start()
        try:
            env = {**os.environ, **environment(ready), "IRONBROOK_READY": json.dumps(ready)}
            env.pop("SSL_CERT_DIR", None)
            status = subprocess.call(sys.argv[1:], env=env)
        finally:
            if dev.process.poll() is None:
                dev.stop()
        if status:
            print("---- log of the hub\n" + dev.log()[-8000:], file=sys.stderr)
        return status


if __name__ == "__main__":
    sys.exit(main())
