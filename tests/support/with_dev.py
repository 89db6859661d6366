"""Runs a command with a hub beside it: with_dev.py COMMAND...

The command finds the hub's ready line in the variable IRONBROOK_READY and the CA in those that stock clients read. Who connects to the
socket that IRONBROOK_RESTART names gets the hub stopped and started again, and then the line `ready`.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

from ironbrook import Dev, environment


def restart_when_asked(dev, listener):
    """Until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            dev.stop()
            dev.start()
            connection.sendall(b"ready\n")


def main():
    with tempfile.TemporaryDirectory(prefix="ironbrook-") as folder:
        dev = Dev(folder)
        ready = dev.start()
        path = os.path.join(folder, "restart.sock")
        listener = socket.create_server(path, family=socket.AF_UNIX)
        threading.Thread(target=restart_when_asked, args=(dev, listener), daemon=True).start()
        try:
            own = {"IRONBROOK_READY": json.dumps(ready), "IRONBROOK_RESTART": path}
            env = {**os.environ, **environment(ready), **own}
            env.pop("SSL_CERT_DIR", None)
            status = subprocess.call(sys.argv[1:], env=env)
        finally:
            listener.close()
            if dev.process.poll() is None:
                dev.stop()
        if status:
            print("---- log of the hub\n" + dev.log()[-8000:], file=sys.stderr)
        return status


if __name__ == "__main__":
    sys.exit(main())
