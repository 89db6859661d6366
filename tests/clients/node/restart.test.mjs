// npm clients across a restart of the hub, all at once: they go on by themselves.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import test from "node:test";

import iotDevice from "azure-iot-device";
import iothub from "azure-iothub";

import { CONNECTED, HTTP, connected, covers, eventsOf, first, ready } from "./hub.mjs";

const { Message } = iotDevice;

/** Stops the hub and starts it again, with what it has on disk. */
async function restart() {
  const path = process.env.IRONBROOK_RESTART;
  if (!path) throw new Error("IRONBROOK_RESTART is not set: run `cargo xtask test --only node`");
  const [answer] = await once(connect(path).setEncoding("utf8"), "data");
  assert.equal(answer, "ready\n");
}

const columns = [...CONNECTED, HTTP];
const cells = columns.map(([column]) => [column, "reconnect"]);

test(covers("devices go on after a restart", ...cells), { timeout: 110000 }, async (t) => {
  const options = { http: { receivePolicy: { interval: 1 } } };
  const devices = [];
  for (const [column, transport] of columns) {
    const device = await connected(t, "node-restart", transport, column === HTTP[0] ? options : undefined);
    devices.push({ ...device, arrived: first(device.client, "message") });
    await device.client.sendEvent(new Message(JSON.stringify({ number: 1 })));
  }
  await restart();
  const service = iothub.Client.fromConnectionString(ready.hub_connection_string);
  await service.open();
  t.after(() => service.close());
  await Promise.all(
    devices.map(async ({ deviceId, client, arrived }) => {
      await client.sendEvent(new Message(JSON.stringify({ number: 2 })));
      await service.send(deviceId, new Message("after"));
      const got = await arrived;
      assert.equal(got.getData().toString(), "after");
      await client.complete(got);
      assert.deepEqual(
        (await eventsOf(deviceId, 2)).map((event) => event.body.number),
        [1, 2],
      );
    }),
  );
});
