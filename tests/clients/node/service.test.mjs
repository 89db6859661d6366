// npm azure-iothub and @azure/event-hubs.

import assert from "node:assert/strict";
import test from "node:test";

import { EventHubConsumerClient } from "@azure/event-hubs";
import iothub from "azure-iothub";

import { newDevice, ready, registry } from "./hub.mjs";

test("device life", async () => {
  const { deviceId } = await newDevice("node-life");
  const got = (await registry.get(deviceId)).responseBody;
  assert.equal(got.status, "enabled");
  assert.ok((await registry.list()).responseBody.some((device) => device.deviceId === deviceId));
  await registry.delete(deviceId);
  await assert.rejects(registry.get(deviceId), { name: "DeviceNotFoundError" });
});

test("a device that is there already", async () => {
  const { deviceId } = await newDevice("node-twice");
  await assert.rejects(registry.create({ deviceId }), { name: "DeviceAlreadyExistsError" });
});

test("query with a page size", async () => {
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

test("feedback of a message to a device", { timeout: 60000 }, async (t) => {
  const service = iothub.Client.fromConnectionString(ready.hub_connection_string);
  await service.open();
  t.after(() => service.close());
  const receiver = await new Promise((resolve, reject) =>
    service.getFeedbackReceiver((error, found) => (error ? reject(error) : resolve(found))),
  );
  assert.ok(receiver);
});

test("events endpoint: properties of the hub and its partitions", { timeout: 60000 }, async (t) => {
  const client = new EventHubConsumerClient("$Default", ready.events_connection_string);
  t.after(() => client.close());
  const properties = await client.getEventHubProperties();
  assert.equal(properties.name, client.eventHubName);
  const partition = await client.getPartitionProperties(properties.partitionIds[0]);
  assert.equal(partition.partitionId, "0");
  assert.equal(typeof partition.lastEnqueuedSequenceNumber, "number");
});
