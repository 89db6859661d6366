"""The few modules and methods of MicroPython that CPython lacks, so that CPython can run the device program's network part.

The program and umqtt.simple run as they are; this file only stands in for the interpreter. On a MicroPython with sockets
none of it is needed.
"""

import binascii
import os
import socket
import ssl
import struct
import sys
import time
import types


class Stream:
    """A socket as MicroPython has it: read and write whole, None when nothing waits."""

    def __init__(self, sock):
        self.sock = sock

    def read(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.sock.recv(count - len(data))
            except (ssl.SSLWantReadError, BlockingIOError):
                return data or None
            if not part:
                return data
            data += part
        return data

    def write(self, data, length=None):
        if isinstance(data, str):
            data = data.encode()
        self.sock.sendall(data if length is None else data[:length])

    def connect(self, address):
        self.sock.connect(address)

    def settimeout(self, seconds):
        self.sock.settimeout(seconds)

    def setblocking(self, flag):
        self.sock.setblocking(flag)

    def close(self):
        self.sock.close()


def wrap_socket(stream, server_hostname=None, cert_reqs=ssl.CERT_NONE, cadata=None):
    """MicroPython's ssl.wrap_socket of the releases this umqtt.simple was written for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = cert_reqs != ssl.CERT_NONE
    context.verify_mode = cert_reqs
    if cadata:
        context.load_verify_locations(cadata=cadata)
    return Stream(context.wrap_socket(stream.sock, server_hostname=server_hostname))


def getaddrinfo(host, port):
    # MicroPython's sockets are IPv4 unless told otherwise.
    return socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)


def module(name, **members):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(members)


def install():
    """Makes `import main` of the device program work."""
    module("usocket", socket=lambda: Stream(socket.socket()), getaddrinfo=getaddrinfo)
    module("ustruct", pack=struct.pack, pack_into=struct.pack_into)
    module("ubinascii", hexlify=binascii.hexlify)
    module("ussl", wrap_socket=wrap_socket)
    time.ticks_ms = lambda: int(time.monotonic() * 1000)
    time.ticks_diff = lambda end, start: end - start
    time.ticks_add = lambda ticks, delta: ticks + delta
    time.sleep_ms = lambda ms: time.sleep(ms / 1000)
    # A faster clock lets a token grow old while a test looks on.
    rate, start, real = float(os.environ.get("CLOCK_RATE", "1")), time.time(), time.time
    time.time = lambda: start + (real() - start) * rate
