// npm azure-iot-device over its four connected transports.

import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";

import iotDevice from "azure-iot-device";
import iothub from "azure-iothub";

import { CONNECTED, connected, covers, eventsOf, first, hostName, newDevice, ready, registry, trusting } from "./hub.mjs";

const { Message, ModuleClient, SharedAccessKeyAuthenticationProvider, Client } = iotDevice;
const MODEL = "dtmi:example:Thermostat;1";
const WITHIN = { timeout: 60000 };
// A token is good for a minute, and renewed two seconds after it was made.
const VALID_SECONDS = 60;
const MARGIN_SECONDS = 58;

const service = iothub.Client.fromConnectionString(ready.hub_connection_string);
test.before(() => service.open());
test.after(() => service.close());

function reported(twin, patch) {
  return new Promise((resolve, reject) =>
    twin.properties.reported.update(patch, (error) => (error ? reject(error) : resolve())),
  );
}

async function newModule(t, transport) {
  const { deviceId } = await newDevice("node-module");
  const moduleId = "m1";
  const { responseBody } = await registry.addModule({ deviceId, moduleId });
  const key = responseBody.authentication.symmetricKey.primaryKey;
  const text = `HostName=${hostName};DeviceId=${deviceId};ModuleId=${moduleId};SharedAccessKey=${key}`;
  const client = await trusting(ModuleClient.fromConnectionString(text, transport), transport);
  await client.open();
  t.after(() => client.close());
  return { deviceId, moduleId, client };
}

for (const [column, transport] of CONNECTED) {
  const prefix = column.replace("/", "-");

  test(covers("telemetry", [column, "connect-sas", "telemetry"]), WITHIN, async (t) => {
    const { deviceId, client } = await connected(t, prefix, transport);
    const message = new Message(JSON.stringify({ temperature: 21.5 }));
    message.contentType = "application/json";
    message.contentEncoding = "utf-8";
    message.messageId = "m-1";
    message.properties.add("temp alert", "true/x&y");
    await client.sendEvent(message);
    const [event] = await eventsOf(deviceId, 1);
    assert.deepEqual(event.body, { temperature: 21.5 });
    assert.equal(event.messageId, "m-1");
    assert.equal(event.contentType, "application/json");
    assert.deepEqual(event.properties, { "temp alert": "true/x&y" });
  });

  test(covers("message to the device", [column, "c2d"], ["node-hub/amqp", "send"]), WITHIN, async (t) => {
    const { deviceId, client } = await connected(t, prefix, transport);
    const arrived = first(client, "message");
    const message = new Message("hello");
    message.messageId = "c2d-1";
    message.properties.add("colour", "green");
    await service.send(deviceId, message);
    const got = await arrived;
    assert.equal(got.getData().toString(), "hello");
    assert.equal(got.messageId, "c2d-1");
    assert.ok(got.properties.propertyList.some((p) => p.key === "colour" && p.value === "green"));
    await client.complete(got);
  });

  test(covers("twin", [column, "twin-get", "twin-report", "twin-desired"], ["node-hub/rest", "twins"]), WITHIN, async (t) => {
    const { deviceId, client } = await connected(t, prefix, transport);
    const twin = await client.getTwin();
    const changed = new Promise((resolve) => twin.on("properties.desired.interval", resolve));
    await reported(twin, { firmware: "1.0" });
    const stored = (await registry.getTwin(deviceId)).responseBody;
    assert.equal(stored.properties.reported.firmware, "1.0");
    await registry.updateTwin(deviceId, { properties: { desired: { interval: 5 } } }, "*");
    assert.equal(await changed, 5);
  });

  test(covers("direct method", [column, "method"], ["node-hub/rest", "methods"]), WITHIN, async (t) => {
    const { deviceId, client } = await connected(t, prefix, transport);
    client.onDeviceMethod("setSpeed", (request, response) => response.send(207, { got: request.payload }, () => {}));
    // The SDK has no callback for "subscribed", so the hub is asked to wait for it.
    const { result } = await service.invokeDeviceMethod(deviceId, {
      methodName: "setSpeed",
      payload: { speed: 3 },
      responseTimeoutInSeconds: 20,
      connectTimeoutInSeconds: 20,
    });
    assert.equal(result.status, 207);
    assert.deepEqual(result.payload, { got: { speed: 3 } });
  });

  const module = [column, "connect-module", "module-twin", "module-method"];
  test(covers("module", module, ["node-hub/rest", "modules", "module-methods"]), WITHIN, async (t) => {
    const { deviceId, moduleId, client } = await newModule(t, transport);
    const twin = await client.getTwin();
    const changed = new Promise((resolve) => twin.on("properties.desired.speed", resolve));
    await reported(twin, { speed: 3 });
    const stored = (await registry.getModuleTwin(deviceId, moduleId)).responseBody;
    assert.equal(stored.properties.reported.speed, 3);
    await registry.updateModuleTwin(deviceId, moduleId, { properties: { desired: { speed: 5 } } }, "*");
    assert.equal(await changed, 5);

    client.onMethod("go", (_request, response) => response.send(201, { of: moduleId }, () => {}));
    // The SDK has no callback for "subscribed", so the hub is asked to wait for it.
    const call = { methodName: "go", payload: null, responseTimeoutInSeconds: 20, connectTimeoutInSeconds: 20 };
    const { result } = await service.invokeDeviceMethod(deviceId, moduleId, call);
    assert.deepEqual([result.status, result.payload], [201, { of: moduleId }]);
  });

  test(covers("renewed token", [column, "renewal"]), WITHIN, async (t) => {
    const { deviceId, connectionString } = await newDevice(prefix);
    const provider = SharedAccessKeyAuthenticationProvider.fromConnectionString(
      connectionString,
      VALID_SECONDS,
      MARGIN_SECONDS,
    );
    const client = await trusting(Client.fromAuthenticationProvider(provider, transport), transport);
    t.after(() => client.close());
    await client.open();
    const arrived = first(client, "message");
    for (let renewals = 0; renewals < 2; renewals++) await once(provider, "newTokenAvailable");
    await service.send(deviceId, new Message("after"));
    const got = await arrived;
    assert.equal(got.getData().toString(), "after");
    await client.complete(got);
  });
}

for (const [column, transport] of CONNECTED.filter(([column]) => column.includes("amqp"))) {
  test(covers("a message abandoned and rejected", [column, "c2d-abandon", "c2d-reject"]), WITHIN, async (t) => {
    const { deviceId, client } = await connected(t, "node-settle", transport);
    const arrived = [];
    const waiting = [];
    client.on("message", (message) => (waiting.shift() ?? ((late) => arrived.push(late)))(message));
    const next = () => new Promise((resolve) => (arrived.length ? resolve(arrived.shift()) : waiting.push(resolve)));
    await service.send(deviceId, new Message("again"));
    await client.abandon(await next());
    const again = await next();
    assert.equal(again.getData().toString(), "again");
    await client.reject(again);
    // It is gone: what comes next is another.
    await service.send(deviceId, new Message("other"));
    const other = await next();
    assert.equal(other.getData().toString(), "other");
    await client.complete(other);
  });
}

for (const [column, transport] of CONNECTED.filter(([column]) => column.includes("mqtt"))) {
  test(covers("model", [column, "model-id"]), WITHIN, async (t) => {
    const { deviceId, connectionString } = await newDevice("node-model");
    const client = await trusting(Client.fromConnectionString(connectionString, transport), transport);
    await client.setOptions({ modelId: MODEL });
    await client.open();
    t.after(() => client.close());
    await client.getTwin();
    assert.equal((await registry.getTwin(deviceId)).responseBody.modelId, MODEL);
    const query = registry.createQuery(`SELECT deviceId FROM devices WHERE modelId = '${MODEL}'`);
    assert.ok((await query.next()).result.some((row) => row.deviceId === deviceId));
  });
}
