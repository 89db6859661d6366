// npm azure-iothub.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";

import iotDevice from "azure-iot-device";
import amqp from "azure-iot-device-amqp";
import iothub from "azure-iothub";

import { connected, covers, newDevice, ready, registry } from "./hub.mjs";

const { Message } = iotDevice;
const REST = "node-hub/rest";
const WITHIN = { timeout: 60000 };
// A batch of feedback goes out at once when it has so many records; else the first waits 15 seconds for others.
const FEEDBACK_BATCH = 64;

test(covers("device life", [REST, "devices"]), async () => {
  const { deviceId } = await newDevice("node-life");
  const got = (await registry.get(deviceId)).responseBody;
  assert.equal(got.status, "enabled");
  const disabled = (await registry.update({ ...got, status: "disabled" })).responseBody;
  assert.equal(disabled.status, "disabled");
  assert.ok((await registry.list()).responseBody.some((device) => device.deviceId === deviceId));
  await registry.delete(deviceId);
  await assert.rejects(registry.get(deviceId), { name: "DeviceNotFoundError" });
});

test("a device that is there already", async () => {
  const { deviceId } = await newDevice("node-twice");
  await assert.rejects(registry.create({ deviceId }), { name: "DeviceAlreadyExistsError" });
});

test(covers("module life", [REST, "modules"]), async () => {
  const { deviceId } = await newDevice("node-modules");
  const made = (await registry.addModule({ deviceId, moduleId: "m1" })).responseBody;
  assert.ok(made.authentication.symmetricKey.primaryKey);
  const listed = (await registry.getModulesOnDevice(deviceId)).responseBody;
  assert.deepEqual(listed.map((module) => module.moduleId), ["m1"]);
  const changed = (await registry.updateModule({ ...made, managedBy: "me" })).responseBody;
  assert.equal(changed.managedBy, "me");
  await registry.removeModule(deviceId, "m1");
  await assert.rejects(registry.getModule(deviceId, "m1"));
});

test(covers("bulk", [REST, "bulk"]), async () => {
  const devices = [1, 2, 3].map((number) => ({ deviceId: `node-bulk-${number}-${randomUUID().slice(0, 8)}` }));
  assert.equal((await registry.addDevices(devices)).responseBody.isSuccessful, true);
  const stored = await Promise.all(devices.map(({ deviceId }) => registry.get(deviceId)));
  const changed = stored.map(({ responseBody }) => ({ ...responseBody, status: "disabled" }));
  assert.equal((await registry.updateDevices(changed, true)).responseBody.isSuccessful, true);
  assert.equal((await registry.get(devices[0].deviceId)).responseBody.status, "disabled");
  assert.equal((await registry.removeDevices(devices, true)).responseBody.isSuccessful, true);
  await assert.rejects(registry.get(devices[0].deviceId), { name: "DeviceNotFoundError" });
});

test(covers("twin with an etag", [REST, "twins"]), async () => {
  const { deviceId } = await newDevice("node-twin");
  const { etag } = (await registry.getTwin(deviceId)).responseBody;
  const changed = (await registry.updateTwin(deviceId, { tags: { hall: 3 } }, etag)).responseBody;
  assert.deepEqual(changed.tags, { hall: 3 });
  await assert.rejects(registry.updateTwin(deviceId, { tags: { hall: 4 } }, etag), { name: "InvalidEtagError" });
});

test(covers("query with a page size", [REST, "query"]), async () => {
  const made = [];
  for (let number = 0; number < 3; number++) {
    const { deviceId } = await newDevice("node-query");
    await registry.updateTwin(deviceId, { tags: { group: "node-query" } }, "*");
    made.push(deviceId);
  }
  const query = registry.createQuery("SELECT * FROM devices WHERE tags.group = 'node-query'", 2);
  const found = [];
  while (query.hasMoreResults) found.push(...(await query.nextAsTwin()).result);
  assert.deepEqual(found.map((twin) => twin.deviceId).sort(), made.sort());
});

test(covers("statistics", [REST, "statistics"]), async () => {
  await newDevice("node-counted");
  const counted = (await registry.getRegistryStatistics()).responseBody;
  assert.ok(counted.totalDeviceCount >= 2 && counted.enabledDeviceCount >= 2);
});

test(covers("modules of an edge device", [REST, "apply"]), async () => {
  const deviceId = `node-edge-${randomUUID().slice(0, 8)}`;
  await registry.create({ deviceId, capabilities: { iotEdge: true } });
  const desired = { schemaVersion: "1.1", modules: {} };
  await registry.applyConfigurationContentOnDevice(deviceId, {
    modulesContent: { $edgeAgent: { "properties.desired": desired }, $edgeHub: { "properties.desired": { routes: {} } } },
  });
  const twin = (await registry.getModuleTwin(deviceId, "$edgeAgent")).responseBody;
  assert.equal(twin.properties.desired.schemaVersion, "1.1");
});

for (const [column, transport] of [["node-hub/amqp", iothub.Amqp], ["node-hub/amqp-ws", iothub.AmqpWs]]) {
  test(covers("messages to a device, and feedback", [column, "send", "feedback"]), WITHIN, async (t) => {
    const service = iothub.Client.fromConnectionString(ready.hub_connection_string, transport);
    await service.open();
    t.after(() => service.close());
    const { deviceId, client } = await connected(t, "node-feedback", amqp.Amqp);
    client.on("message", (message) => client.complete(message, () => {}));
    const receiver = await new Promise((resolve, reject) =>
      service.getFeedbackReceiver((error, found) => (error ? reject(error) : resolve(found))),
    );
    const records = [];
    const all = new Promise((resolve, reject) => {
      receiver.on("errorReceived", reject);
      receiver.on("message", (message) => {
        records.push(...JSON.parse(message.data.toString()).filter((record) => record.deviceId === deviceId));
        receiver.complete(message, (error) => (error ? reject(error) : records.length === FEEDBACK_BATCH && resolve()));
      });
    });
    for (let number = 0; number < FEEDBACK_BATCH; number++) {
      const message = new Message("x");
      message.messageId = `f-${number}`;
      message.ack = "full";
      await service.send(deviceId, message);
    }
    await all;
    assert.ok(records.every((record) => record.statusCode === "Success"));
    assert.deepEqual(
      records.map((record) => record.originalMessageId).sort(),
      Array.from({ length: FEEDBACK_BATCH }, (_, number) => `f-${number}`).sort(),
    );
  });
}

test("a message to an unknown device is refused", WITHIN, async (t) => {
  const service = iothub.Client.fromConnectionString(ready.hub_connection_string);
  await service.open();
  t.after(() => service.close());
  await assert.rejects(service.send("nobody", new Message("x")), { name: "DeviceNotFoundError" });
});

test("a wrong key is refused", WITHIN, async (t) => {
  const text = ready.hub_connection_string.replace(/SharedAccessKey=[^;]+/, `SharedAccessKey=${"A".repeat(43)}=`);
  const service = iothub.Client.fromConnectionString(text);
  t.after(() => service.close());
  await assert.rejects(service.open());
});
