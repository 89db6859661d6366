"""Starts `ironbrook dev` as a process of its own, and the few helpers that every client test shares."""

import base64
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import queue
import signal
import subprocess
import threading
import time
import urllib.parse

READY_WITHIN = 60
STOPPED_WITHIN = 30


class Program:
    """A command of the binary that runs until it is stopped and says in a line of JSON when it is ready."""

    def __init__(self, folder, *command, log="log.txt"):
        self.command = [str(word) for word in command]
        self.log_path = pathlib.Path(folder) / log
        self.environment = {}
        self.process = None
        self.ready = None

    def start(self):
        """Starts it and waits until it says that it is ready; gives what it said."""
        binary = os.environ.get("IRONBROOK_BIN")
        if not binary:
            raise RuntimeError("IRONBROOK_BIN is not set: run `cargo xtask test`, or set it to the binary's path")
        with open(self.log_path, "ab") as log:
            command = [binary, *self.command, "--output", "json"]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        lines = queue.Queue()
        threading.Thread(target=lambda: lines.put(self.process.stdout.readline()), daemon=True).start()
        try:
            line = lines.get(timeout=READY_WITHIN)
            self.ready = json.loads(line)
        except (queue.Empty, ValueError):
            self.kill()
            raise RuntimeError(f"`{self}` was not ready:\n{self.log()}") from None
        return self.ready

    def __str__(self):
        # Without options: one of them may be a connection string.
        words = itertools.takewhile(lambda word: not word.startswith("-"), self.command)
        return " ".join(["ironbrook", *words])

    def stop(self):
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(STOPPED_WITHIN)
        self.process.stdout.close()
        if status:
            raise RuntimeError(f"`{self}` ended with {status}:\n{self.log()[-4000:]}")

    def kill(self):
        """As a power cut does, as far as one process is concerned."""
        self.process.kill()
        self.process.wait(STOPPED_WITHIN)
        self.process.stdout.close()

    def log(self, after=0):
        """Its log from a position on."""
        return self.log_path.read_text(errors="replace")[after:]


class Dev(Program):
    """A hub with its data folder. Ports are the standard ones: run it in a network namespace of its own."""

    def __init__(self, folder, *arguments):
        self.data_dir = pathlib.Path(folder) / "data"
        super().__init__(folder, "dev", "--data-dir", self.data_dir, *arguments)


def environment(ready):
    """Variables by which stock clients trust the hub's own CA, and only that."""
    return {
        "REQUESTS_CA_BUNDLE": ready["ca_file"],
        "SSL_CERT_FILE": ready["ca_file"],
        "NODE_EXTRA_CA_CERTS": ready["ca_file"],
        "IRONBROOK_BLOB_CONNECTION_STRING": ready["blob_connection_string"],
    }


def trust(ready):
    """Sets these variables for this process."""
    os.environ.update(environment(ready))
    os.environ.pop("SSL_CERT_DIR", None)


def parse(connection_string):
    """The parts of a connection string."""
    return dict(part.split("=", 1) for part in connection_string.split(";") if part)


def token(resource, key, expiry=None, policy=None):
    """A shared access signature, made independently of any SDK."""
    encoded = urllib.parse.quote(resource, safe="")
    expiry = int(time.time()) + 3600 if expiry is None else expiry
    digest = hmac.new(base64.b64decode(key), f"{encoded}\n{expiry}".encode(), hashlib.sha256).digest()
    sig = urllib.parse.quote(base64.b64encode(digest), safe="")
    text = f"SharedAccessSignature sr={encoded}&sig={sig}&se={expiry}"
    return f"{text}&skn={policy}" if policy else text


def eventually(check, timeout=60, what="condition"):
    """Looks again and again until `check` gives something true, and gives that. Generous: the machine may be busy."""
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.05)
