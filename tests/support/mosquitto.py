"""The stock broker mosquitto, with the configuration a test gives it."""

import os
import pathlib
import shutil
import socket
import subprocess

from ironbrook import STOPPED_WITHIN, eventually

# Debian puts it where only root's PATH looks.
PROGRAM = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


class Mosquitto:
    """A broker on a loopback port, with its files in a folder; it keeps its port over a restart. Use it in a `with`."""

    def __init__(self, folder, *settings, port):
        self.folder, self.port = pathlib.Path(folder), port
        self.folder.mkdir(exist_ok=True)
        # As root it would become a user who may not read the folder.
        lines = [f"listener {port} 127.0.0.1", "user root", *(settings or ["allow_anonymous true"])]
        self.config = self.folder / "mosquitto.conf"
        self.config.write_text("\n".join(lines) + "\n")
        self.process = None

    def start(self):
        if PROGRAM is None:
            raise RuntimeError("mosquitto is missing: sudo apt-get install --no-install-recommends mosquitto")
        with open(self.folder / "mosquitto.log", "ab") as log:
            self.process = subprocess.Popen([PROGRAM, "-c", str(self.config)], stdout=log, stderr=log)
        eventually(self._listens, what="mosquitto listens")
        return self

    def _listens(self):
        if self.process.poll() is not None:
            raise RuntimeError("mosquitto ended:\n" + (self.folder / "mosquitto.log").read_text())
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        """In order: what persists is written down."""
        self.process.terminate()
        self.process.wait(STOPPED_WITHIN)

    def kill(self):
        self.process.kill()
        self.process.wait(STOPPED_WITHIN)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
