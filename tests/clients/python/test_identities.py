"""PyPI azure-iot-device as more than a device with a key: certificates, modules, renewed tokens, models."""

import datetime
import hashlib
import json
import pathlib
import queue

import pytest
from azure.iot.device import IoTHubDeviceClient, IoTHubModuleClient, Message, MethodResponse, X509
from azure.iot.hub.models import CloudToDeviceMethod, Twin, TwinProperties
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import events
from ironbrook import eventually, parse
from transports import TRANSPORTS

MODEL = "dtmi:example:Thermostat;1"
# The client renews its token two minutes before it ends: a few seconds after it has connected.
RENEWED_SOON = 125


@pytest.fixture(params=TRANSPORTS)
def websockets(request):
    """Both transports."""
    return request.param


@pytest.fixture
def trust(dev):
    """What every client is given to know the hub by."""
    return {"server_verification_cert": pathlib.Path(dev["ca_file"]).read_text(), "connection_retry": False}


@pytest.fixture
def host(dev):
    return parse(dev["hub_connection_string"])["HostName"]


def certificate(folder, name):
    """A self-signed certificate: (its file, its key's file, SHA-256 of its DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files[1].write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    return *map(str, files), hashlib.sha256(made.public_bytes(serialization.Encoding.DER)).hexdigest()


@pytest.mark.feature("connect-x509")
def test_certificate_known_by_its_thumbprint(websockets, registry, trust, host, tmp_path, dev):
    name = f"thumbprint-{'ws' if websockets else 'tcp'}"
    cert, key, thumbprint = certificate(tmp_path, name)
    registry.create_device_with_x509(name, thumbprint.upper(), "", "enabled")
    client = IoTHubDeviceClient.create_from_x509_certificate(
        X509(cert, key), host, name, websockets=websockets, **trust
    )
    try:
        client.connect()
        client.send_message(Message("proved"))
    finally:
        client.shutdown()
    (event,) = events.of_device(events.read(dev, lambda got: events.of_device(got, name)), name)
    assert json.loads(event.system_properties[b"iothub-connection-auth-method"])["type"] == "x509"


@pytest.fixture
def module(websockets, new_device, registry, trust, host):
    """(device, module id, connected client)."""
    device, _ = new_device("of-module")
    key = registry.create_module_with_sas(device, "m1", "", "", "").authentication.symmetric_key.primary_key
    client = IoTHubModuleClient.create_from_connection_string(
        f"HostName={host};DeviceId={device};ModuleId=m1;SharedAccessKey={key}", websockets=websockets, **trust
    )
    client.connect()
    yield device, "m1", client
    client.shutdown()


@pytest.mark.feature("connect-module", "module-twin")
@pytest.mark.also("azure-iot-hub/rest", "twins")
def test_module_twin(module, registry):
    device, name, client = module
    changed = queue.Queue()
    client.on_twin_desired_properties_patch_received = changed.put
    client.patch_twin_reported_properties({"speed": 3})
    assert registry.get_module_twin(device, name).properties.reported["speed"] == 3
    registry.update_module_twin(device, name, Twin(properties=TwinProperties(desired={"speed": 5})), "*")
    assert changed.get(timeout=60)["speed"] == 5
    assert client.get_twin()["desired"]["speed"] == 5


@pytest.mark.feature("module-method")
@pytest.mark.also("azure-iot-hub/rest", "module-methods")
def test_method_of_a_module(module, registry):
    device, name, client = module
    client.on_method_request_received = lambda request: client.send_method_response(
        MethodResponse.create_from_method_request(request, 201, {"of": name})
    )
    method = CloudToDeviceMethod(method_name="go", response_timeout_in_seconds=20)
    answer = registry.invoke_device_module_method(device, name, method)
    assert (answer.status, answer.payload) == (201, {"of": name})


@pytest.mark.feature("renewal")
def test_token_is_renewed_and_subscriptions_go_on(websockets, new_device, connect, hub, registry):
    name, connection_string = new_device("renewed")
    client = connect(connection_string, websockets=websockets, sastoken_ttl=RENEWED_SOON)
    received, states = queue.Queue(), queue.Queue()
    client.on_message_received = lambda message: received.put(message.data)
    client.on_connection_state_change = lambda: states.put(client.connected)
    # It goes, and comes again with a new token.
    assert states.get(timeout=60) is False
    assert states.get(timeout=60) is True
    registry.send_c2d_message(name, "after")
    assert received.get(timeout=60) == b"after"


@pytest.mark.feature("model-id")
def test_model_is_kept_in_the_twin(websockets, new_device, connect, registry):
    name, connection_string = new_device("model")
    connect(connection_string, websockets=websockets, product_info=MODEL)
    twin = eventually(lambda: (found := registry.get_twin(name)).additional_properties.get("modelId") and found)
    assert twin.additional_properties["modelId"] == MODEL
