// npm azure-iot-device over HTTPS: no connection, messages to the device are asked for.

import assert from "node:assert/strict";
import { once } from "node:events";
import test from "node:test";

import iotDevice from "azure-iot-device";
import iothub from "azure-iothub";

import { HTTP, connected, covers, eventsOf, newDevice, ready } from "./hub.mjs";

const { Client, Message, SharedAccessKeyAuthenticationProvider } = iotDevice;
const [COLUMN, Http] = HTTP;
const WITHIN = { timeout: 60000 };
// Seconds between two requests for messages; the client's own choice is 25 minutes.
const POLL = { http: { receivePolicy: { interval: 1 } } };

const service = iothub.Client.fromConnectionString(ready.hub_connection_string);
test.before(() => service.open());
test.after(() => service.close());

test(covers("telemetry", [COLUMN, "connect-sas", "telemetry"]), WITHIN, async (t) => {
  const { deviceId, client } = await connected(t, "node-http", Http);
  const message = new Message(JSON.stringify({ temperature: 21.5 }));
  message.contentType = "application/json";
  message.contentEncoding = "utf-8";
  message.messageId = "m-1";
  message.properties.add("alert", "true/x&y");
  await client.sendEvent(message);
  const [event] = await eventsOf(deviceId, 1);
  assert.deepEqual(event.body, { temperature: 21.5 });
  assert.deepEqual([event.messageId, event.contentType], ["m-1", "application/json"]);
  assert.deepEqual(event.properties, { alert: "true/x&y" });
});

test(covers("a batch", [COLUMN, "telemetry-batch"]), WITHIN, async (t) => {
  const { deviceId, client } = await connected(t, "node-http-batch", Http);
  const messages = [1, 2, 3].map((number) => {
    const message = new Message(JSON.stringify({ number }));
    message.properties.add("number", String(number));
    return message;
  });
  await client.sendEventBatch(messages);
  const events = await eventsOf(deviceId, 3);
  assert.deepEqual(
    events.map((event) => event.properties.number),
    ["1", "2", "3"],
  );
});

test(covers("messages to the device", [COLUMN, "c2d", "c2d-abandon", "c2d-reject"]), WITHIN, async (t) => {
  const { deviceId, client } = await connected(t, "node-http-c2d", Http, POLL);
  const arrived = [];
  const waiting = [];
  client.on("message", (message) => (waiting.shift() ?? ((late) => arrived.push(late)))(message));
  const next = () => new Promise((resolve) => (arrived.length ? resolve(arrived.shift()) : waiting.push(resolve)));

  const message = new Message("again");
  message.messageId = "c2d-1";
  message.properties.add("colour", "green");
  await service.send(deviceId, message);
  await client.abandon(await next());
  const again = await next();
  assert.deepEqual([again.getData().toString(), again.messageId], ["again", "c2d-1"]);
  // Over HTTP the client leaves the header's prefix in the name.
  assert.ok(again.properties.propertyList.some((p) => p.key === "iothub-app-colour" && p.value === "green"));
  await client.reject(again);
  await service.send(deviceId, new Message("other"));
  const other = await next();
  assert.equal(other.getData().toString(), "other");
  await client.complete(other);
});

test(covers("renewed token", [COLUMN, "renewal"]), WITHIN, async (t) => {
  const { deviceId, connectionString } = await newDevice("node-http-renewed");
  const provider = SharedAccessKeyAuthenticationProvider.fromConnectionString(connectionString, 60, 59);
  const client = Client.fromAuthenticationProvider(provider, Http);
  t.after(() => client.close());
  await client.open();
  const renewed = once(provider, "newTokenAvailable");
  await client.sendEvent(new Message(JSON.stringify({ number: 1 })));
  await renewed;
  await client.sendEvent(new Message(JSON.stringify({ number: 2 })));
  assert.equal((await eventsOf(deviceId, 2)).length, 2);
});
