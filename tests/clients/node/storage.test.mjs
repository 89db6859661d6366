// npm @azure/storage-blob against the built-in storage account.

import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import test from "node:test";

import { BlobClient, BlobServiceClient, BlobSASPermissions } from "@azure/storage-blob";

import { covers, ready } from "./hub.mjs";

const COLUMN = "node-blob";
const MIB = 1 << 20;
const account = BlobServiceClient.fromConnectionString(ready.blob_connection_string);

async function newContainer(t) {
  const container = account.getContainerClient(`node-${randomUUID()}`);
  await container.create({ metadata: { made: "by-a-test" } });
  t.after(() => container.deleteIfExists());
  return container;
}

test(covers("containers", [COLUMN, "containers"]), async (t) => {
  const container = await newContainer(t);
  assert.equal((await container.getProperties()).metadata.made, "by-a-test");
  await container.setMetadata({ made: "anew" });
  const listed = [];
  for await (const item of account.listContainers({ prefix: container.containerName, includeMetadata: true }))
    listed.push(item);
  assert.deepEqual(listed.map((item) => [item.name, item.metadata.made]), [[container.containerName, "anew"]]);
  await container.delete();
  assert.equal(await container.exists(), false);
});

test(covers("blobs", [COLUMN, "blobs"]), async (t) => {
  const container = await newContainer(t);
  const blob = container.getBlockBlobClient("folder/ünï code.txt");
  await blob.upload("0123456789", 10, { blobHTTPHeaders: { blobContentType: "text/x-test" }, metadata: { unit: "c" } });
  const properties = await blob.getProperties();
  assert.deepEqual([properties.contentLength, properties.contentType, properties.metadata.unit], [10, "text/x-test", "c"]);
  assert.equal((await blob.downloadToBuffer()).toString(), "0123456789");
  assert.equal((await blob.downloadToBuffer(2, 3)).toString(), "234");
  const names = [];
  for await (const item of container.listBlobsByHierarchy("/")) names.push([item.kind, item.name]);
  assert.deepEqual(names, [["prefix", "folder/"]]);
  await blob.delete();
  assert.equal(await blob.exists(), false);
});

test(covers("blocks", [COLUMN, "blocks"]), async (t) => {
  const blob = (await newContainer(t)).getBlockBlobClient("large");
  const content = randomBytes(5 * MIB);
  await blob.uploadData(content, { blockSize: MIB, maxSingleShotSize: MIB });
  assert.equal((await blob.getBlockList("committed")).committedBlocks.length, 5);
  assert.ok((await blob.downloadToBuffer()).equals(content));
});

test(covers("conditions", [COLUMN, "conditions"]), async (t) => {
  const blob = (await newContainer(t)).getBlockBlobClient("once");
  const first = await blob.upload("1", 1, { conditions: { ifNoneMatch: "*" } });
  await assert.rejects(blob.upload("2", 1, { conditions: { ifNoneMatch: "*" } }), { code: "BlobAlreadyExists" });
  const second = await blob.upload("2", 1, { conditions: { ifMatch: first.etag } });
  await assert.rejects(blob.upload("3", 1, { conditions: { ifMatch: first.etag } }), { code: "ConditionNotMet" });
  assert.notEqual(first.etag, second.etag);
});

test(covers("signatures", [COLUMN, "signatures"]), async (t) => {
  const blob = (await newContainer(t)).getBlockBlobClient("shared");
  await blob.upload("text", 4);
  const expiresOn = new Date(Date.now() + 3600_000);
  const url = await blob.generateSasUrl({ permissions: BlobSASPermissions.parse("r"), expiresOn });
  const reader = new BlobClient(url);
  assert.equal((await reader.downloadToBuffer()).toString(), "text");
  await assert.rejects(reader.delete(), { statusCode: 403 });
});
