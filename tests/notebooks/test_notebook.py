"""Executes the notebook against telemetry that the hub has routed to storage, and looks at what it leaves."""

import pathlib
import struct

import nbformat
import pytest
from azure.storage.blob import BlobServiceClient
from nbclient import NotebookClient

from ironbrook import eventually

NOTEBOOKS = pathlib.Path(__file__).parents[2] / "notebooks"
# Smaller than this a PNG of that size is an empty page.
SMALLEST_FIGURE = 10_000


@pytest.fixture
def routed(dev):
    """Waits until the simulated thermistor's telemetry is in both containers."""
    service = BlobServiceClient.from_connection_string(dev["blob_connection_string"])

    def both():
        names = {blob.name.rsplit(".", 1)[-1] for c in service.list_containers() for blob in service.get_container_client(c.name).list_blobs()}
        return {"json", "avro"} <= names

    eventually(both, 60, "a JSON and an Avro blob")
    return dev


@pytest.mark.timeout(300)
def test_retrieval_and_visualization(routed, tmp_path, monkeypatch):
    figures = tmp_path / "figures"
    monkeypatch.setenv("IRONBROOK_BLOB_CONNECTION_STRING", routed["blob_connection_string"])
    monkeypatch.setenv("IRONBROOK_FIGURES", str(figures))
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(NOTEBOOKS / "retrieval_and_visualization.ipynb", as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()

    pictures = sorted(figures.glob("*.png"))
    assert len(pictures) >= 3, pictures
    for picture in pictures:
        data = picture.read_bytes()
        assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > SMALLEST_FIGURE, picture.name
        width, height = struct.unpack("!II", data[16:24])
        assert width >= 400 and height >= 200, picture.name
