"""Shared access signatures, made on the device. MicroPython has SHA-256 but no HMAC, so it is here.

Form: SharedAccessSignature sr=<encoded resource>&sig=<encoded base64 HMAC>&se=<expiry>, where the
HMAC-SHA256 is taken over the encoded resource, a line feed and the expiry (Unix seconds, decimal).
"""

import binascii
import hashlib

BLOCK = 64
UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~"


def hmac_sha256(key, message):
    """RFC 2104 over SHA-256; bytes in, 32 bytes out."""
    if len(key) > BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(BLOCK - len(key))
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in key))
    inner.update(message)
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in key))
    outer.update(inner.digest())
    return outer.digest()


def percent_encode(text):
    """RFC 3986: everything but unreserved characters, upper-case hex."""
    return "".join(chr(b) if b in UNRESERVED else "%%%02X" % b for b in text.encode())


def signature(key, resource, expiry):
    """Base64 of the HMAC for an already encoded resource; `key` is the base64 text of the hub."""
    digest = hmac_sha256(binascii.a2b_base64(key.encode()), ("%s\n%d" % (resource, expiry)).encode())
    return binascii.b2a_base64(digest).decode().strip()


def token(key, resource, expiry):
    """The whole token for a resource such as `hub.example/devices/thermistor-1`."""
    encoded = percent_encode(resource)
    sig = percent_encode(signature(key, encoded, expiry))
    return "SharedAccessSignature sr=%s&sig=%s&se=%d" % (encoded, sig, expiry)
