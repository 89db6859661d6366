// npm azure-iot-device over its four connected transports.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import amqp from "azure-iot-device-amqp";
import mqtt from "azure-iot-device-mqtt";
import iotDevice from "azure-iot-device";
import iothub from "azure-iothub";

import { eventsOf, first, newDevice, ready, registry } from "./hub.mjs";

const { Client, Message } = iotDevice;
const TRANSPORTS = { mqtt: mqtt.Mqtt, mqttWs: mqtt.MqttWs, amqp: amqp.Amqp, amqpWs: amqp.AmqpWs };

async function connected(t, prefix, transport) {
  const { deviceId, connectionString } = await newDevice(prefix);
  const client = Client.fromConnectionString(connectionString, transport);
  await client.setOptions({ ca: readFileSync(ready.ca_file, "utf8") });
  await client.open();
  t.after(() => client.close());
  return { deviceId, client };
}

const service = iothub.Client.fromConnectionString(ready.hub_connection_string);
test.after(() => service.close());

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`${name}: telemetry`, { timeout: 60000 }, async (t) => {
    const { deviceId, client } = await connected(t, `node-${name}`, transport);
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

  test(`${name}: message to the device`, { timeout: 60000 }, async (t) => {
    const { deviceId, client } = await connected(t, `node-${name}`, transport);
    const arrived = first(client, "message");
    const message = new Message("hello");
    message.messageId = "c2d-1";
    message.properties.add("colour", "green");
    await service.open();
    await service.send(deviceId, message);
    const got = await arrived;
    assert.equal(got.getData().toString(), "hello");
    assert.equal(got.messageId, "c2d-1");
    assert.ok(got.properties.propertyList.some((p) => p.key === "colour" && p.value === "green"));
    await client.complete(got);
  });

  test(`${name}: twin`, { timeout: 60000 }, async (t) => {
    const { deviceId, client } = await connected(t, `node-${name}`, transport);
    const twin = await client.getTwin();
    const changed = new Promise((resolve) => twin.on("properties.desired.interval", resolve));
    await new Promise((resolve, reject) =>
      twin.properties.reported.update({ firmware: "1.0" }, (error) => (error ? reject(error) : resolve())),
    );
    const stored = (await registry.getTwin(deviceId)).responseBody;
    assert.equal(stored.properties.reported.firmware, "1.0");
    await registry.updateTwin(deviceId, { properties: { desired: { interval: 5 } } }, "*");
    assert.equal(await changed, 5);
  });

  test(`${name}: direct method`, { timeout: 60000 }, async (t) => {
    const { deviceId, client } = await connected(t, `node-${name}`, transport);
    client.onDeviceMethod("setSpeed", (request, response) => response.send(207, { got: request.payload }, () => {}));
    // The SDK has no callback for "subscribed"; a twin request afterwards is answered in order.
    await client.getTwin();
    const { result } = await service.invokeDeviceMethod(deviceId, {
      methodName: "setSpeed",
      payload: { speed: 3 },
      responseTimeoutInSeconds: 20,
    });
    assert.equal(result.status, 207);
    assert.deepEqual(result.payload, { got: { speed: 3 } });
  });
}
