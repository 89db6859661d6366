"""File upload with PyPI azure-iot-device and azure-storage-blob, as the samples of both do it."""

import queue
import threading
import uuid

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient, ContainerClient

from transports import TRANSPORTS


@pytest.fixture(params=TRANSPORTS)
def device(request, new_device, connect):
    """(id, connected client)."""
    name, connection_string = new_device("upload")
    return name, connect(connection_string, websockets=request.param)


def address(ticket):
    """Where the file goes, put together as the SDK's samples do it."""
    return f"https://{ticket['hostName']}/{ticket['containerName']}/{ticket['blobName']}{ticket['sasToken']}"


@pytest.mark.feature("upload")
def test_a_file_is_uploaded(device, dev):
    name, client = device
    content = uuid.uuid4().bytes * 100_000
    ticket = client.get_storage_info_for_blob("logs/today.bin")
    assert ticket["blobName"] == f"{name}/logs/today.bin"
    # More than a block, so that it goes in several.
    options = {"max_single_put_size": 256 * 1024, "max_block_size": 256 * 1024}
    with BlobClient.from_blob_url(address(ticket), connection_verify=dev["ca_file"], **options) as blob:
        blob.upload_blob(content, overwrite=True)
    client.notify_blob_upload_status(ticket["correlationId"], True, 200, "done")
    account = dev["blob_connection_string"]
    with ContainerClient.from_connection_string(account, ticket["containerName"]) as container:
        assert container.download_blob(ticket["blobName"]).readall() == content


def test_a_signature_is_for_one_file(device, dev):
    _, client = device
    ticket = client.get_storage_info_for_blob("mine.bin")
    other = {**ticket, "blobName": "somebody/else.bin"}
    with BlobClient.from_blob_url(address(other), connection_verify=dev["ca_file"], retry_total=0) as blob:
        with pytest.raises(HttpResponseError) as refused:
            blob.upload_blob(b"x")
    assert refused.value.status_code == 403
    client.notify_blob_upload_status(ticket["correlationId"], False, 403, "refused")
