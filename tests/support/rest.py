"""Devices and health over HTTPS, with nothing of an SDK."""

import requests

import ironbrook
from raw import own_token

API_VERSION = "2021-04-12"


def send(ready, device, body, **properties):
    """One JSON message of a device, acknowledged; `properties` are its application properties."""
    connection_string = ready["device_connection_strings"][device]
    host = ironbrook.parse(connection_string)["HostName"]
    headers = {
        "Authorization": own_token(ready, connection_string),
        "iothub-contenttype": "application/json",
        "iothub-contentencoding": "utf-8",
        **{f"iothub-app-{name}": value for name, value in properties.items()},
    }
    url = f"https://{host}/devices/{device}/messages/events?api-version={API_VERSION}"
    answer = requests.post(url, json=body, headers=headers, verify=ready["ca_file"], timeout=20)
    assert answer.status_code == 204, answer.text
