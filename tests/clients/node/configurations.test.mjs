// npm azure-iothub: configurations.

import assert from "node:assert/strict";
import test from "node:test";

import { covers, newDevice, registry } from "./hub.mjs";

async function eventually(check, what) {
  const deadline = Date.now() + 60000;
  while (!(await check())) {
    if (Date.now() > deadline) assert.fail(`${what}: not within 60 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test(covers("a configuration is made, reaches a device, is changed and removed", ["node-hub/rest", "configurations"]), { timeout: 90000 }, async () => {
  const { deviceId } = await newDevice("node-configured");
  const wanted = {
    id: "node-1",
    content: { deviceContent: { "properties.desired.settings": { on: true } } },
    targetCondition: `deviceId = '${deviceId}'`,
    priority: 3,
    labels: { App: "X" },
    schemaVersion: "1.0",
  };
  const made = (await registry.addConfiguration(wanted)).responseBody;
  assert.equal(made.priority, 3);
  await eventually(async () => {
    const { responseBody } = await registry.getTwin(deviceId);
    return responseBody.properties.desired.settings?.on === true && responseBody.configurations?.["node-1"]?.status === "Applied";
  }, "the configuration in the twin");
  const got = (await registry.getConfiguration("node-1")).responseBody;
  got.priority = 4;
  const changed = (await registry.updateConfiguration(got)).responseBody;
  assert.equal(changed.priority, 4);
  await assert.rejects(registry.updateConfiguration(got), { name: "InvalidEtagError" });
  assert.ok((await registry.getConfigurations()).responseBody.some((one) => one.id === "node-1"));
  await registry.removeConfiguration("node-1");
  await assert.rejects(registry.getConfiguration("node-1"));
});
