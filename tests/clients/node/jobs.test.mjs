// npm azure-iothub: JobClient, bulk changes, import and export.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";

import { BlobServiceClient, ContainerSASPermissions } from "@azure/storage-blob";
import iothub from "azure-iothub";

import { covers, newDevice, ready, registry } from "./hub.mjs";

const jobs = iothub.JobClient.fromConnectionString(ready.hub_connection_string);

async function finished(id) {
  const deadline = Date.now() + 60000;
  for (;;) {
    const job = (await jobs.getJob(id)).jobStatus;
    if (["completed", "failed", "cancelled"].includes(job.status)) return job;
    if (Date.now() > deadline) assert.fail(`${id} does not end: ${JSON.stringify(job)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test(covers("a twin job changes the twin, and is found again", ["node-hub/rest", "jobs"]), { timeout: 90000 }, async () => {
  const { deviceId } = await newDevice("node-job");
  const id = `node-twin-${randomUUID()}`;
  await jobs.scheduleTwinUpdate(id, `deviceId = '${deviceId}'`, { etag: "*", tags: { done: true } }, new Date(), 60);
  const job = await finished(id);
  assert.equal(job.status, "completed");
  assert.equal(job.deviceJobStatistics.succeededCount, 1);
  assert.equal((await registry.getTwin(deviceId)).responseBody.tags.done, true);

  const query = jobs.createQuery("scheduleUpdateTwin", "completed", 100);
  const found = [];
  while (query.hasMoreResults) found.push(...(await query.next()).result);
  assert.ok(found.some((one) => one.jobId === id));
});

test(covers("a method job fails for who is away, and a job of tomorrow is cancelled", ["node-hub/rest", "jobs"]), { timeout: 90000 }, async () => {
  const { deviceId } = await newDevice("node-job");
  const id = `node-method-${randomUUID()}`;
  const method = { methodName: "reboot", payload: null, responseTimeoutInSeconds: 5 };
  await jobs.scheduleDeviceMethod(id, `deviceId IN ['${deviceId}']`, method, new Date(), 60);
  assert.equal((await finished(id)).deviceJobStatistics.failedCount, 1);

  const later = `node-later-${randomUUID()}`;
  await jobs.scheduleTwinUpdate(later, "*", { etag: "*", tags: {} }, new Date(Date.now() + 86400000), 60);
  await jobs.cancelJob(later);
  assert.equal((await finished(later)).status, "cancelled");
});

test(covers("many devices are added, changed and removed at once", ["node-hub/rest", "bulk"]), { timeout: 60000 }, async () => {
  const names = [randomUUID(), randomUUID()];
  const devices = names.map((deviceId) => ({ deviceId, status: "enabled" }));
  assert.equal((await registry.addDevices(devices)).responseBody.isSuccessful, true);
  assert.equal((await registry.get(names[0])).responseBody.status, "enabled");
  const disabled = devices.map((device) => ({ ...device, status: "disabled" }));
  assert.equal((await registry.updateDevices(disabled, true)).responseBody.isSuccessful, true);
  assert.equal((await registry.get(names[1])).responseBody.status, "disabled");
  assert.equal((await registry.removeDevices(devices, true)).responseBody.isSuccessful, true);
  await assert.rejects(registry.get(names[0]), { name: "DeviceNotFoundError" });
});

test(covers("all identities are exported, and imported from there", ["node-hub/rest", "transfer"]), { timeout: 90000 }, async (t) => {
  const account = BlobServiceClient.fromConnectionString(ready.blob_connection_string);
  const container = account.getContainerClient(`node-transfer-${randomUUID()}`);
  await container.create();
  t.after(() => container.delete());
  const permissions = ContainerSASPermissions.parse("racwdl");
  const url = await container.generateSasUrl({ permissions, expiresOn: new Date(Date.now() + 3600_000) });
  // These calls of the SDK give the body alone.
  const done = async ({ jobId }) => {
    for (const end = Date.now() + 60000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 100))) {
      const { status } = await registry.getJob(jobId);
      if (status === "completed") return;
      assert.notEqual(status, "failed");
    }
    assert.fail("not within 60 s");
  };

  const { deviceId } = await newDevice("node-transfer");
  await done(await registry.exportDevicesToBlob(url, false));
  const text = (await container.getBlobClient("devices.txt").downloadToBuffer()).toString();
  const line = text.split("\n").find((row) => row.includes(deviceId));
  assert.ok(JSON.parse(line).authentication.symmetricKey.primaryKey);
  await registry.delete(deviceId);
  await container.getBlockBlobClient("devices.txt").upload(line, line.length);
  await done(await registry.importDevicesFromBlob(url, url));
  assert.equal((await registry.get(deviceId)).responseBody.deviceId, deviceId);
});
