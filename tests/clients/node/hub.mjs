// What the tests share: the running hub's ready line, devices of their own, and readers of the events endpoint.

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";

import { EventHubConsumerClient, earliestEventPosition } from "@azure/event-hubs";
import amqp from "azure-iot-device-amqp";
import http from "azure-iot-device-http";
import mqtt from "azure-iot-device-mqtt";
import iotDevice from "azure-iot-device";
import iothub from "azure-iothub";

const text = process.env.IRONBROOK_READY;
if (!text) throw new Error("IRONBROOK_READY is not set: run `cargo xtask test --only node`");

/** The ready line of `ironbrook dev`. */
export const ready = JSON.parse(text);
export const hostName = /HostName=([^;]+)/.exec(ready.hub_connection_string)[1];
export const registry = iothub.Registry.fromConnectionString(ready.hub_connection_string);

/** The transports of the device client: column of docs/compatibility.md, and the class. */
export const CONNECTED = [
  ["node-device/mqtt", mqtt.Mqtt],
  ["node-device/mqtt-ws", mqtt.MqttWs],
  ["node-device/amqp", amqp.Amqp],
  ["node-device/amqp-ws", amqp.AmqpWs],
];
export const HTTP = ["node-device/http", http.Http];

/** The name of a test with the cells of docs/compatibility.md that it covers: ["column", "feature", …]. */
export function covers(name, ...cells) {
  return `${name} [${cells.map(([column, ...features]) => `${column}: ${features.join(", ")}`).join("; ")}]`;
}

/** Gives a client the hub's authority. Over HTTP nothing is called back, and the environment's is used. */
export async function trusting(client, transport) {
  if (transport !== http.Http) await client.setOptions({ ca: readFileSync(ready.ca_file, "utf8") });
  return client;
}

/** A new device, connected. */
export async function connected(t, prefix, transport, options) {
  const { deviceId, connectionString } = await newDevice(prefix);
  const client = await trusting(iotDevice.Client.fromConnectionString(connectionString, transport), transport);
  if (options) client.setOptions(options);
  await client.open();
  t.after(() => client.close());
  return { deviceId, connectionString, client };
}

/** Makes a device with keys of the hub's choice; gives its id and connection string. */
export async function newDevice(prefix) {
  const deviceId = `${prefix}-${randomUUID().slice(0, 8)}`;
  const { responseBody } = await registry.create({ deviceId });
  const key = responseBody.authentication.symmetricKey.primaryKey;
  return { deviceId, connectionString: `HostName=${hostName};DeviceId=${deviceId};SharedAccessKey=${key}` };
}

/** Reads from the beginning until a device has sent `count` events; gives these. */
export async function eventsOf(deviceId, count, options = {}) {
  const client = new EventHubConsumerClient("$Default", options.connectionString ?? ready.events_connection_string);
  const found = [];
  try {
    await new Promise((resolve, reject) => {
      client.subscribe(
        {
          async processEvents(events) {
            found.push(...events.filter((event) => event.systemProperties["iothub-connection-device-id"] === deviceId));
            if (found.length >= count) resolve();
          },
          async processError(error) {
            reject(error);
          },
        },
        { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 },
      );
    });
  } finally {
    await client.close();
  }
  return found;
}

/** The first value of an event emitter. The listener stays: without one the device SDK closes its link. */
export function first(emitter, name) {
  return new Promise((resolve) => emitter.on(name, resolve));
}
