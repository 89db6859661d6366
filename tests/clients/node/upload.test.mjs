// npm azure-iot-device uploads files, and azure-iothub hears of them.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import test from "node:test";

import { BlobServiceClient } from "@azure/storage-blob";
import iothub from "azure-iothub";

import { CONNECTED, HTTP, connected, covers, ready } from "./hub.mjs";

const WITHIN = { timeout: 60000 };
const SERVICES = [
  ["node-hub/amqp", iothub.Amqp],
  ["node-hub/amqp-ws", iothub.AmqpWs],
];

/** Reads notices until one of a device comes; others are given back. */
async function noticeOf(service, deviceId) {
  const receiver = await new Promise((resolve, reject) =>
    service.getFileNotificationReceiver((error, found) => (error ? reject(error) : resolve(found))),
  );
  return new Promise((resolve, reject) => {
    receiver.on("errorReceived", reject);
    receiver.on("message", (message) => {
      const notice = JSON.parse(message.data.toString());
      const isOurs = notice.deviceId === deviceId;
      receiver[isOurs ? "complete" : "abandon"](message, (error) => (error ? reject(error) : isOurs && resolve(notice)));
    });
  });
}

for (const [index, [column, transport]] of [...CONNECTED, HTTP].entries()) {
  const [serviceColumn, serviceTransport] = SERVICES[index % SERVICES.length];
  const cells = [[column, "upload"], [serviceColumn, "file-notifications"]];
  test(covers("a file and its notice", ...cells), WITHIN, async (t) => {
    const service = iothub.Client.fromConnectionString(ready.hub_connection_string, serviceTransport);
    await service.open();
    t.after(() => service.close());
    const { deviceId, client } = await connected(t, "node-upload", transport);
    const content = randomBytes(100_000);
    const noticed = noticeOf(service, deviceId);
    await client.uploadToBlob("logs/today.bin", Readable.from([content]), content.length);
    const notice = await noticed;
    assert.deepEqual([notice.blobName, notice.blobSizeInBytes], [`${deviceId}/logs/today.bin`, content.length]);
    const container = new URL(notice.blobUri).pathname.split("/")[1];
    const account = BlobServiceClient.fromConnectionString(ready.blob_connection_string);
    const stored = await account.getContainerClient(container).getBlobClient(notice.blobName).downloadToBuffer();
    assert.ok(stored.equals(content));
  });
}
