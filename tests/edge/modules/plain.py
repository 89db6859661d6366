"""A module with nothing of an SDK: the workload API over its unix socket, then MQTT to the edge hub."""

import base64
import http.client
import json
import os
import pathlib
import socket
import ssl
import sys
import time
import urllib.parse

# Variables by which Python finds modules do not reach the modules of a deployment.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))

from raw import API_VERSION, CONNECTED, Connection  # noqa: E402

TOKEN_SECONDS = 3600


class Workload(http.client.HTTPConnection):
    """HTTP over the module's unix socket."""

    def __init__(self):
        super().__init__("localhost", timeout=60)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.environ["IOTEDGE_WORKLOADURI"].removeprefix("unix://"))

    def ask(self, method, path, body=None):
        """A call that succeeds; gives the JSON it answers."""
        self.request(method, f"{path}?api-version={os.environ['IOTEDGE_APIVERSION']}", body and json.dumps(body))
        answer = self.getresponse()
        text = answer.read()
        assert answer.status == 200, (answer.status, text)
        return json.loads(text)


def token(module, resource):
    """A shared access signature that the daemon signs: the key stays with it."""
    encoded, expiry = urllib.parse.quote(resource, safe=""), int(time.time()) + TOKEN_SECONDS
    path = f"/modules/{module}/genid/{os.environ['IOTEDGE_MODULEGENERATIONID']}/sign"
    data = base64.b64encode(f"{encoded}\n{expiry}".encode()).decode()
    digest = Workload().ask("POST", path, {"keyId": "primary", "algo": "HMACSHA256", "data": data})["digest"]
    return f"SharedAccessSignature sr={encoded}&sig={urllib.parse.quote(digest, safe='')}&se={expiry}"


class Module(Connection):
    """This module's connection to the edge hub, up."""

    def __init__(self, on_message=None):
        hub, device, module = (os.environ[f"IOTEDGE_{name}"] for name in ("IOTHUBHOSTNAME", "DEVICEID", "MODULEID"))
        self.path = f"devices/{device}/modules/{module}"
        context = ssl.create_default_context(cadata=Workload().ask("GET", "/trust-bundle")["certificate"])
        username = f"{hub}/{device}/{module}/?api-version={API_VERSION}"
        password = token(module, f"{hub}/{self.path}")
        gateway = os.environ["IOTEDGE_GATEWAYHOSTNAME"]
        super().__init__(gateway, f"{device}/{module}", username, password, context, on_message)
        assert self.next() == ("connack", CONNECTED)


class Numbers:
    """A file of numbers, one a line. Each is with the system when `add` returns, so that it outlives this process."""

    def __init__(self, path):
        self.file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)

    def last(self):
        """The last number, or None."""
        lines = pathlib.Path(f"/proc/self/fd/{self.file}").read_text().split()
        return int(lines[-1]) if lines else None

    def add(self, number):
        os.write(self.file, b"%d\n" % number)
