// npm @azure/event-hubs, with its checkpoint store on the storage account.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import test from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { EventHubConsumerClient, earliestEventPosition, latestEventPosition } from "@azure/event-hubs";
import { BlobCheckpointStore } from "@azure/eventhubs-checkpointstore-blob";
import { ContainerClient } from "@azure/storage-blob";
import iotDevice from "azure-iot-device";
import mqtt from "azure-iot-device-mqtt";
import WebSocket from "ws";

import { connected, covers, ready } from "./hub.mjs";

const { Message } = iotDevice;
const WITHIN = { timeout: 90000 };
const OVER = [
  ["node-events/amqp", {}],
  ["node-events/amqp-ws", { webSocketOptions: { webSocket: WebSocket } }],
];
const PARTITIONS = 4;

function newConsumer(t, options, store) {
  const text = ready.events_connection_string;
  const client = new EventHubConsumerClient("$Default", text, ...(store ? [store, options] : [options]));
  t.after(() => client.close());
  return client;
}

/** Reads until enough; gives the events of a device. */
async function read(client, deviceId, enough, options, partition) {
  const found = [];
  const handlers = (resolve, reject) => ({
    processEvents: async (events) => {
      found.push(...events.filter((event) => event.systemProperties["iothub-connection-device-id"] === deviceId));
      if (enough(found)) resolve();
    },
    processError: async (error) => reject(error),
  });
  let subscription;
  try {
    await new Promise((resolve, reject) => {
      const given = [handlers(resolve, reject), { maxWaitTimeInSeconds: 1, ...options }];
      subscription = partition === undefined ? client.subscribe(...given) : client.subscribe(partition, ...given);
    });
  } finally {
    await subscription.close();
  }
  return found;
}

async function numbered(t, prefix, count) {
  const { deviceId, client } = await connected(t, prefix, mqtt.Mqtt);
  const send = (number) => client.sendEvent(new Message(JSON.stringify({ number })));
  for (let number = 0; number < count; number++) await send(number);
  return { deviceId, send };
}

async function eventually(check, what) {
  for (const end = Date.now() + 60000; ; await sleep(50)) {
    if (await check()) return;
    if (Date.now() > end) throw new Error(`${what}: not within 60 s`);
  }
}

for (const [column, options] of OVER) {
  const cells = [column, "read", "resume", "management", "last-enqueued"];
  test(covers("reading", cells), WITHIN, async (t) => {
    const { deviceId, send } = await numbered(t, "node-events", 4);
    const client = newConsumer(t, options);
    const numbers = (events) => events.map((event) => event.body.number);
    const all = await read(client, deviceId, (found) => found.length >= 4, { startPosition: earliestEventPosition });
    assert.deepEqual(numbers(all), [0, 1, 2, 3]);

    const hub = await client.getEventHubProperties();
    assert.equal(hub.name, client.eventHubName);
    assert.equal(hub.partitionIds.length, PARTITIONS);
    const bounds = await Promise.all(hub.partitionIds.map((id) => client.getPartitionProperties(id)));
    const last = all.at(-1);
    const of = bounds.find((each) => each.lastEnqueuedSequenceNumber >= last.sequenceNumber);
    assert.equal(typeof of.lastEnqueuedSequenceNumber, "number");

    for (const startPosition of [
      { offset: all[1].offset },
      { sequenceNumber: all[1].sequenceNumber },
      { sequenceNumber: all[2].sequenceNumber, isInclusive: true },
      { enqueuedOn: all[0].enqueuedTimeUtc },
    ]) {
      const after = await read(client, deviceId, (found) => found.at(-1)?.body.number === 3, { startPosition });
      assert.deepEqual(numbers(after).slice(-2), [2, 3]);
    }

    // The reader attaches when it likes; sending goes on until it has seen one.
    let [number, seen] = [4, false];
    const sending = (async () => {
      for (; !seen && number < 200; number++) {
        await send(number);
        await sleep(100);
      }
    })();
    const tracked = [];
    const late = newConsumer(t, options);
    const watch = { startPosition: latestEventPosition, trackLastEnqueuedEventProperties: true };
    const subscription = late.subscribe(
      {
        processEvents: async (events, context) => {
          if (!events.some((event) => event.systemProperties["iothub-connection-device-id"] === deviceId)) return;
          tracked.push([numbers(events)[0], context.lastEnqueuedEventProperties]);
          seen = true;
        },
        processError: async (error) => t.diagnostic(String(error)),
      },
      { ...watch, maxWaitTimeInSeconds: 1 },
    );
    await sending;
    await subscription.close();
    assert.ok(tracked[0][0] >= 4);
    assert.ok(tracked[0][1].sequenceNumber > last.sequenceNumber);
  });

  test(covers("an owner level displaces lower ones", [column, "epoch"]), WITHIN, async (t) => {
    const start = (ownerLevel) => {
      const state = { begun: false, error: undefined };
      const client = newConsumer(t, { ...options, retryOptions: { maxRetries: 0 } });
      state.subscription = client.subscribe(
        "0",
        {
          processEvents: async () => {
            state.begun = true;
          },
          processError: async (error) => {
            state.error ??= error;
          },
        },
        { ownerLevel, startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 },
      );
      return state;
    };
    const lower = start(1);
    await eventually(() => lower.begun, "the lower one reads");
    const higher = start(2);
    await eventually(() => lower.error, "the lower one is told");
    assert.equal(lower.error.code, "ReceiverDisconnectedError");
    assert.equal(higher.error, undefined);
    await Promise.all([lower, higher].map(({ subscription }) => subscription.close()));
  });

  test(covers("checkpoints and shared partitions", [column, "checkpoints", "balance"]), WITHIN, async (t) => {
    const { deviceId, send } = await numbered(t, "node-processor", 3);
    const container = new ContainerClient(ready.blob_connection_string, `node-checkpoints-${randomUUID()}`);
    await container.create();
    t.after(() => container.delete());
    const balance = { strategy: "greedy", updateIntervalInMs: 500, partitionOwnershipExpirationIntervalInMs: 5000 };
    const start = () => {
      const state = { owned: new Set(), numbers: [], errors: [] };
      const client = newConsumer(t, { ...options, loadBalancingOptions: balance }, new BlobCheckpointStore(container));
      state.subscription = client.subscribe(
        {
          processInitialize: async ({ partitionId }) => void state.owned.add(partitionId),
          processClose: async (_reason, { partitionId }) => void state.owned.delete(partitionId),
          processEvents: async (events, context) => {
            const own = events.filter((event) => event.systemProperties["iothub-connection-device-id"] === deviceId);
            state.numbers.push(...own.map((event) => event.body.number));
            if (events.length) await context.updateCheckpoint(events.at(-1));
          },
          processError: async (error) => void state.errors.push(error),
        },
        { startPosition: earliestEventPosition, maxWaitTimeInSeconds: 1 },
      );
      return state;
    };
    const one = start();
    await eventually(() => one.owned.size === PARTITIONS && one.numbers.length === 3, "all for the first");
    const two = start();
    await eventually(() => one.owned.size === 2 && two.owned.size === 2, "two for each");
    await one.subscription.close();
    await send(3);
    await eventually(() => two.owned.size === PARTITIONS && two.numbers.includes(3), "all for the second");
    await two.subscription.close();
    assert.deepEqual(one.numbers.concat(two.numbers).sort(), [0, 1, 2, 3]);
  });
}
