"""Stock azure-storage-blob against the built-in storage account.

Fixture `dev`: the JSON line of `ironbrook dev --output json` as a dict; only `blob_connection_string` is used here, and,
for what was routed, the containers that dev fills.
"""

import base64
import json
import os
import time
import uuid
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    AccountSasPermissions,
    BlobBlock,
    BlobClient,
    BlobPrefix,
    BlobSasPermissions,
    BlobServiceClient,
    BlobType,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
    generate_blob_sas,
    generate_container_sas,
)


pytestmark = pytest.mark.client("azure-storage-blob")


@pytest.fixture
def service(dev):
    with BlobServiceClient.from_connection_string(dev["blob_connection_string"], retry_total=0) as client:
        yield client


@pytest.fixture
def container(service):
    client = service.create_container("test-" + uuid.uuid4().hex)
    yield client
    client.delete_container()


def in_an_hour():
    return datetime.now(timezone.utc) + timedelta(hours=1)


def code_of(caught):
    return caught.value.error_code


@pytest.mark.feature("containers")
def test_containers_are_made_listed_changed_and_deleted(service):
    name = "test-" + uuid.uuid4().hex
    made = service.create_container(name, metadata={"line": "3"})
    with pytest.raises(ResourceExistsError):
        service.create_container(name)
    listed = [c for c in service.list_containers(name_starts_with=name, include_metadata=True)]
    assert [(c.name, c.metadata) for c in listed] == [(name, {"line": "3"})]
    before = made.get_container_properties()
    assert before.etag == listed[0].etag and before.metadata == {"line": "3"}
    made.set_container_metadata({"line": "4"})
    assert made.get_container_properties().metadata == {"line": "4"}
    assert made.get_container_access_policy()["signed_identifiers"] == []
    made.delete_container()
    with pytest.raises(ResourceNotFoundError) as caught:
        made.get_container_properties()
    assert code_of(caught) == "ContainerNotFound"
    assert not made.exists()


def test_list_of_containers_comes_in_pages(service):
    prefix = "page-" + uuid.uuid4().hex[:8]
    names = [f"{prefix}-{n}" for n in range(5)]
    for name in names:
        service.create_container(name)
    pages = service.list_containers(name_starts_with=prefix, results_per_page=2).by_page()
    assert [[c.name for c in page] for page in pages] == [names[:2], names[2:4], names[4:]]
    for name in names:
        service.delete_container(name)


@pytest.mark.feature("blobs")
@pytest.mark.parametrize(
    "name", ["plain.json", "hub/00/2026/11/22/12/32.json", "space and ünïcode/Ω 100%.txt", "a+b&c=d?e#f", "..dots./.x", "quote'\"<x>"]
)
def test_blob_comes_back_as_it_went(container, name):
    content = os.urandom(1000)
    blob = container.get_blob_client(name)
    blob.upload_blob(content, metadata={"unit": "celsius"}, content_settings=ContentSettings(
        content_type="application/x-test", cache_control="no-cache", content_language="de", content_disposition="inline"))
    assert blob.download_blob().readall() == content
    properties = blob.get_blob_properties()
    assert properties.size == 1000 and properties.metadata == {"unit": "celsius"}
    assert properties.blob_type == BlobType.BLOCKBLOB and properties.lease.status == "unlocked"
    settings = properties.content_settings
    assert (settings.content_type, settings.cache_control, settings.content_language, settings.content_disposition) == (
        "application/x-test", "no-cache", "de", "inline")
    listed = [b for b in container.list_blobs(include=["metadata"])]
    # As in Azure, listings of blobs have the version without quotes.
    etag = properties.etag.strip('"')
    assert [(b.name, b.size, b.metadata, b.etag) for b in listed] == [(name, 1000, {"unit": "celsius"}, etag)]
    assert abs((datetime.now(timezone.utc) - listed[0].last_modified).total_seconds()) < 60


def test_empty_blob(container):
    blob = container.upload_blob("empty", b"")
    assert blob.download_blob().readall() == b""
    assert blob.get_blob_properties().size == 0


@pytest.mark.feature("blobs")
def test_ranges(container):
    content = bytes(range(256)) * 40
    blob = container.upload_blob("r", content)
    assert blob.download_blob(offset=10, length=100).readall() == content[10:110]
    assert blob.download_blob(offset=10_000).readall() == content[10_000:]
    assert blob.download_blob(offset=10_200, length=5000).readall() == content[10_200:]
    with pytest.raises(HttpResponseError) as caught:
        blob.download_blob(offset=len(content), length=1)
    assert caught.value.status_code == 416 and code_of(caught) == "InvalidRange"


@pytest.mark.feature("blocks")
def test_large_blob_goes_in_blocks_and_comes_in_ranges(service, dev, container):
    content = os.urandom(9 * 1024 * 1024 + 17)
    chunked = BlobServiceClient.from_connection_string(
        dev["blob_connection_string"], max_single_put_size=1024 * 1024, max_block_size=1024 * 1024,
        max_single_get_size=1024 * 1024, max_chunk_get_size=1024 * 1024)
    blob = chunked.get_blob_client(container.container_name, "large")
    blob.upload_blob(content, max_concurrency=4, validate_content=True)
    assert blob.download_blob(max_concurrency=4, validate_content=True).readall() == content
    committed, uncommitted = blob.get_block_list("all")
    assert len(committed) == 10 and uncommitted == []
    assert b"".join(blob.download_blob().chunks()) == content


@pytest.mark.feature("blocks")
def test_blocks_by_hand(container):
    blob = container.get_blob_client("blocks")
    ids = [base64.b64encode(f"{n:04}".encode()).decode() for n in range(3)]
    for n, block in enumerate(ids):
        blob.stage_block(block, bytes([n]) * (n + 1))
    committed, uncommitted = blob.get_block_list("all")
    assert committed == [] and sorted(b.size for b in uncommitted) == [1, 2, 3]
    assert not blob.exists()
    blob.commit_block_list([BlobBlock(ids[2]), BlobBlock(ids[0])], metadata={"k": "v"},
                           content_settings=ContentSettings(content_type="text/x"))
    assert blob.download_blob().readall() == b"\x02\x02\x02\x00"
    properties = blob.get_blob_properties()
    assert (properties.content_settings.content_type, properties.metadata) == ("text/x", {"k": "v"})
    committed, uncommitted = blob.get_block_list("all")
    assert [b.size for b in committed] == [3, 1] and uncommitted == []
    with pytest.raises(HttpResponseError) as caught:
        blob.commit_block_list([BlobBlock(ids[1])])
    assert code_of(caught) == "InvalidBlockList"


def test_wrong_md5_is_refused(container):
    blob = container.get_blob_client("md5")
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_blob(b"abc", headers={"Content-MD5": base64.b64encode(b"0" * 16).decode()})
    assert code_of(caught) == "Md5Mismatch"
    assert not blob.exists()
    blob.upload_blob(b"abc", validate_content=True)
    assert bytes(blob.get_blob_properties().content_settings.content_md5).hex() == "900150983cd24fb0d6963f7d28e17f72"


@pytest.mark.feature("conditions")
def test_conditions(container):
    blob = container.get_blob_client("c")
    first = blob.upload_blob(b"one")["etag"]
    with pytest.raises(ResourceExistsError) as caught:
        blob.upload_blob(b"two")
    assert code_of(caught) == "BlobAlreadyExists"
    second = blob.upload_blob(b"two", overwrite=True, etag=first, match_condition=MatchConditions.IfNotModified)["etag"]
    assert first != second
    with pytest.raises(ResourceModifiedError):
        blob.upload_blob(b"three", overwrite=True, etag=first, match_condition=MatchConditions.IfNotModified)
    with pytest.raises(HttpResponseError) as caught:
        blob.download_blob(etag=second, match_condition=MatchConditions.IfModified)
    assert caught.value.status_code == 304
    with pytest.raises(HttpResponseError):
        blob.delete_blob(if_unmodified_since=datetime.now(timezone.utc) - timedelta(hours=1))
    assert blob.download_blob(etag=second, match_condition=MatchConditions.IfNotModified).readall() == b"two"


def test_metadata_and_headers_change_the_etag_only(container):
    blob = container.upload_blob("m", b"x", metadata={"a": "1"})
    before = blob.get_blob_properties()
    blob.set_blob_metadata({"b": "2"})
    blob.set_http_headers(ContentSettings(content_type="text/plain", content_encoding="identity"))
    after = blob.get_blob_properties()
    assert after.metadata == {"b": "2"} and after.content_settings.content_type == "text/plain"
    assert after.etag != before.etag and after.creation_time == before.creation_time
    assert blob.download_blob().readall() == b"x"


@pytest.mark.feature("blobs")
def test_delete(container):
    blob = container.upload_blob("d", b"x")
    blob.delete_blob()
    with pytest.raises(ResourceNotFoundError) as caught:
        blob.delete_blob()
    assert code_of(caught) == "BlobNotFound"
    with pytest.raises(ResourceNotFoundError):
        blob.download_blob()


@pytest.mark.feature("blobs")
def test_lists_flat_by_folder_and_in_pages(container):
    names = ["a", "a/1", "a/2/x", "a/2/y", "b/1", "ctrl\x01name", "z"]
    for name in names:
        container.upload_blob(name, b"x")
    assert [b.name for b in container.list_blobs()] == sorted(names)
    assert list(container.list_blob_names(name_starts_with="a/2")) == ["a/2/x", "a/2/y"]
    pages = container.list_blobs(results_per_page=3).by_page()
    assert [len(list(page)) for page in pages] == [3, 3, 1]
    # The client shows the folders of a page before its blobs.
    top = sorted((item.name, type(item) is BlobPrefix) for item in container.walk_blobs())
    assert top == [("a", False), ("a/", True), ("b/", True), ("ctrl\x01name", False), ("z", False)]
    assert sorted(i.name for i in container.walk_blobs(name_starts_with="a/", delimiter="/")) == ["a/1", "a/2/"]


def test_service_and_account_information(service):
    assert service.get_service_properties()["static_website"].enabled is False
    assert service.get_account_information()["sku_name"] == "Standard_LRS"


def test_wrong_key_and_no_key_are_refused(service, container):
    container.upload_blob("secret", b"x")
    wrong = base64.b64encode(b"wrong" * 8).decode()
    stranger = BlobServiceClient(
        service.url, credential={"account_name": service.account_name, "account_key": wrong}, retry_total=0)
    with pytest.raises(ClientAuthenticationError) as caught:
        list(stranger.list_containers())
    assert code_of(caught) == "AuthenticationFailed"
    with pytest.raises(HttpResponseError) as caught:
        BlobClient(container.url, container.container_name, "secret", retry_total=0).download_blob()
    assert caught.value.status_code in (401, 403, 409)
    with pytest.raises(HttpResponseError) as caught:
        service.create_container("test-" + uuid.uuid4().hex, public_access="blob")
    assert code_of(caught) == "PublicAccessNotPermitted"


def sas_blob(service, container, name, **signature):
    token = generate_blob_sas(
        service.account_name, container.container_name, name, account_key=service.credential.account_key, **signature)
    url = container.get_blob_client(name).url
    return BlobClient.from_blob_url(url, credential=token, retry_total=0)


@pytest.mark.feature("signatures")
def test_blob_signature_reads_one_blob_for_a_while(service, container):
    container.upload_blob("a/ü 1", b"one")
    container.upload_blob("b", b"two")
    read = BlobSasPermissions(read=True)
    blob = sas_blob(service, container, "a/ü 1", permission=read, expiry=in_an_hour(), content_type="text/override")
    download = blob.download_blob()
    assert download.readall() == b"one"
    assert download.properties.content_settings.content_type == "text/override"
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_blob(b"x", overwrite=True)
    assert code_of(caught) == "AuthorizationPermissionMismatch"
    other = BlobClient.from_blob_url(blob.url.replace("a/%C3%BC%201", "b"), retry_total=0)
    with pytest.raises(ClientAuthenticationError):
        other.download_blob()
    past = datetime.now(timezone.utc) - timedelta(minutes=1)
    for late in [dict(expiry=past), dict(start=in_an_hour(), expiry=in_an_hour() + timedelta(hours=1))]:
        with pytest.raises(ClientAuthenticationError) as caught:
            sas_blob(service, container, "b", permission=read, **late).download_blob()
        assert code_of(caught) == "AuthenticationFailed"


def test_signature_is_bound_to_protocol_and_address(service, container):
    container.upload_blob("b", b"two")
    read = dict(permission=BlobSasPermissions(read=True), expiry=in_an_hour())
    encrypted = urlsplit(service.url).scheme == "https"
    if not encrypted:
        with pytest.raises(HttpResponseError) as caught:
            sas_blob(service, container, "b", protocol="https", **read).download_blob()
        assert code_of(caught) == "AuthorizationProtocolMismatch"
    with pytest.raises(HttpResponseError) as caught:
        sas_blob(service, container, "b", ip="192.0.2.1-192.0.2.9", **read).download_blob()
    assert code_of(caught) == "AuthorizationSourceIPMismatch"


def test_create_permission_does_not_replace(service, container):
    create = dict(permission=BlobSasPermissions(create=True), expiry=in_an_hour())
    blob = sas_blob(service, container, "new", **create)
    blob.upload_blob(b"one", overwrite=True)
    with pytest.raises(HttpResponseError) as caught:
        blob.upload_blob(b"two", overwrite=True)
    assert code_of(caught) == "AuthorizationPermissionMismatch"
    assert container.download_blob("new").readall() == b"one"


@pytest.mark.feature("signatures")
def test_container_signature_lists_and_reads(service, container):
    container.upload_blob("x/1", b"one")
    token = generate_container_sas(
        service.account_name, container.container_name, account_key=service.credential.account_key,
        permission=ContainerSasPermissions(read=True, list=True), expiry=in_an_hour())
    shared = ContainerClient.from_container_url(container.url, credential=token, retry_total=0)
    assert [b.name for b in shared.list_blobs()] == ["x/1"]
    assert shared.download_blob("x/1").readall() == b"one"
    with pytest.raises(HttpResponseError) as caught:
        shared.delete_container()
    assert code_of(caught) == "AuthorizationPermissionMismatch"


@pytest.mark.feature("signatures")
def test_account_signature(service, container):
    container.upload_blob("x", b"one")

    def shared(types, **permissions):
        token = generate_account_sas(
            service.account_name, service.credential.account_key, resource_types=ResourceTypes(**types),
            permission=AccountSasPermissions(**permissions), expiry=in_an_hour())
        return BlobServiceClient(service.url, credential=token, retry_total=0)

    full = shared(dict(service=True, container=True, object=True), read=True, list=True)
    assert container.container_name in [c.name for c in full.list_containers()]
    assert full.get_blob_client(container.container_name, "x").download_blob().readall() == b"one"
    narrow = shared(dict(object=True), read=True)
    with pytest.raises(HttpResponseError) as caught:
        list(narrow.list_containers())
    assert code_of(caught) == "AuthorizationResourceTypeMismatch"


def test_other_blob_types_are_refused_clearly(container):
    with pytest.raises(HttpResponseError) as caught:
        container.upload_blob("append", b"x", blob_type=BlobType.APPENDBLOB)
    # The client begins with an append or with making the blob, depending on its version.
    assert code_of(caught) in ("InvalidBlobType", "NotImplemented")


def test_telemetry_of_the_simulated_sensor_arrives_as_json_and_avro(service, dev):
    """What dev's own thermistor sends is in both containers within two flushes."""
    from fastavro import reader

    containers = {c.name for c in service.list_containers()}
    if "device_connection_strings" not in dev:
        pytest.fail("the fixture is not the ready line of `ironbrook dev`; run the tests with `cargo xtask test`")
    found = {}
    deadline = time.monotonic() + 60
    while len(found) < 2 and time.monotonic() < deadline:
        for name in containers:
            for blob in service.get_container_client(name).list_blobs():
                if blob.name.endswith((".json", ".avro")) and blob.size:
                    found[blob.name[-4:]] = service.get_blob_client(name, blob.name)
        if len(found) < 2:
            time.sleep(0.5)
    lines = [json.loads(line) for line in found["json"].download_blob().readall().splitlines()]
    assert lines and all(line["SystemProperties"]["connectionDeviceId"] for line in lines)
    assert list(lines[0]) == ["EnqueuedTimeUtc", "Properties", "SystemProperties", "Body"]
    records = list(reader(__import__("io").BytesIO(found["avro"].download_blob().readall())))
    assert records and isinstance(records[0]["Body"], bytes)
    json.loads(records[0]["Body"])
