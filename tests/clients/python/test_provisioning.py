"""PyPI azure-iot-device as a provisioning client: it learns its hub, and connects to it with what it has."""

import base64
import hashlib
import hmac
import pathlib

import pytest
import requests
from azure.iot.device import X509, IoTHubDeviceClient, ProvisioningDeviceClient

from authority import Authority
from ironbrook import parse, token

API_VERSION = "2021-10-01"
pytestmark = pytest.mark.client("azure-iot-device/provisioning")

TRANSPORTS = pytest.mark.parametrize("websockets", [False, True], ids=["mqtt", "websocket"])


@pytest.fixture(scope="module")
def service(dev):
    """Calls the enrolment API with the connection string that the hub printed."""
    parts = parse(dev["provisioning_connection_string"])
    host, policy = parts["HostName"], parts["SharedAccessKeyName"]

    def call(method, path, body=None, status=200):
        headers = {"Authorization": token(host, parts["SharedAccessKey"], policy=policy)}
        url = f"https://{host}/{path}?api-version={API_VERSION}"
        answer = requests.request(method, url, json=body, headers=headers, verify=dev["ca_file"], timeout=60)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    return call


@pytest.fixture
def options(dev):
    ca = pathlib.Path(dev["ca_file"]).read_text()
    return {"provisioning_host": "localhost", "id_scope": dev["provisioning_id_scope"], "server_verification_cert": ca}


def connect(dev, result, **proof):
    """The stock device client with what the registration said; gives whether it could send."""
    ca = pathlib.Path(dev["ca_file"]).read_text()
    state = result.registration_state
    if "x509" in proof:
        client = IoTHubDeviceClient.create_from_x509_certificate(
            proof["x509"], state.assigned_hub, state.device_id, server_verification_cert=ca, connection_retry=False
        )
    else:
        client = IoTHubDeviceClient.create_from_symmetric_key(
            proof["key"], state.assigned_hub, state.device_id, server_verification_cert=ca, connection_retry=False
        )
    try:
        client.send_message("provisioned")
    finally:
        client.shutdown()


@TRANSPORTS
@pytest.mark.feature("individual")
def test_one_device_with_a_key(websockets, dev, service, options):
    name = f"own-{websockets}".lower()
    twin = {"tags": {"site": "a"}, "properties": {"desired": {"interval": 5}}}
    body = {"registrationId": name, "attestation": {"type": "symmetricKey"}, "initialTwin": twin}
    key = service("PUT", f"enrollments/{name}", body)["attestation"]["symmetricKey"]["secondaryKey"]
    client = ProvisioningDeviceClient.create_from_symmetric_key(
        registration_id=name, symmetric_key=key, websockets=websockets, **options
    )
    client.provisioning_payload = {"line": 4}
    result = client.register()
    assert (result.status, result.registration_state.device_id) == ("assigned", name)
    assert result.registration_state.sub_status == "initialAssignment"
    connect(dev, result, key=key)
    assert service("GET", f"registrations/{name}")["assignedHub"] == "localhost"


@pytest.mark.feature("group")
def test_a_group_with_derived_keys(dev, service, options, registry):
    body = {"enrollmentGroupId": "line", "attestation": {"type": "symmetricKey"}, "capabilities": {"iotEdge": True}}
    key = service("PUT", "enrollmentGroups/line", body)["attestation"]["symmetricKey"]["primaryKey"]
    for name in ["derived-1", "derived-2"]:
        digest = hmac.new(base64.b64decode(key), name.encode(), hashlib.sha256).digest()
        derived = base64.b64encode(digest).decode()
        client = ProvisioningDeviceClient.create_from_symmetric_key(registration_id=name, symmetric_key=derived, **options)
        result = client.register()
        assert result.status == "assigned"
        connect(dev, result, key=derived)
        assert registry.get_device(name).capabilities.iot_edge is True
    assert len(service("POST", "registrations/line/query", {"query": "SELECT * FROM registrations"})) == 2


@TRANSPORTS
@pytest.mark.feature("x509")
def test_certificates(websockets, dev, service, options, tmp_path):
    plant = Authority(tmp_path, "Plant Root")
    line = Authority(tmp_path, "Line 4", above=plant)
    own, group = f"cert-own-{websockets}".lower(), f"cert-group-{websockets}".lower()
    files = plant.sign(own)
    pem = base64.b64encode(pathlib.Path(files[0]).read_bytes()).decode()
    x509 = {"clientCertificates": {"primary": {"certificate": pem}}}
    service("PUT", f"enrollments/{own}", {"attestation": {"type": "x509", "x509": x509}})
    x509 = {"signingCertificates": {"primary": {"certificate": plant.certificate.read_text()}}}
    service("PUT", f"enrollmentGroups/{group}", {"attestation": {"type": "x509", "x509": x509}})
    for name, pair in [(own, files), (group, line.sign(group))]:
        client = ProvisioningDeviceClient.create_from_x509_certificate(
            registration_id=name, x509=X509(*pair), websockets=websockets, **options
        )
        result = client.register()
        assert (result.status, result.registration_state.device_id) == ("assigned", name)
        connect(dev, result, x509=X509(*pair))


def test_who_is_not_enrolled_is_refused(service, options):
    body = {"attestation": {"type": "symmetricKey"}, "provisioningStatus": "disabled"}
    key = service("PUT", "enrollments/switched-off", body)["attestation"]["symmetricKey"]["primaryKey"]
    other = base64.b64encode(b"a key of somebody else's").decode()
    for name, shown in [("nobody", key), ("switched-off", other), ("switched-off", key)]:
        client = ProvisioningDeviceClient.create_from_symmetric_key(registration_id=name, symmetric_key=shown, **options)
        with pytest.raises(Exception):
            client.register()
    assert service("GET", "registrations/switched-off")["status"] == "disabled"
