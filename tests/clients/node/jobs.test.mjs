// npm azure-iothub: JobClient, bulk changes, import and export.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";

import iothub from "azure-iothub";

import { newDevice, ready, registry } from "./hub.mjs";

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

test("a twin job changes the twin, and is found again", { timeout: 90000 }, async () => {
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

test("a method job of a device that is away fails for it, and a job of tomorrow is cancelled", { timeout: 90000 }, async () => {
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

test("many devices are added, changed and removed at once", { timeout: 60000 }, async () => {
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
