// npm azure-iothub's client of digital twins, and azure-iot-device as the device behind one.

import assert from "node:assert/strict";
import test from "node:test";

import iotDevice from "azure-iot-device";
import mqtt from "azure-iot-device-mqtt";
import iothub from "azure-iothub";

import { covers, newDevice, ready, trusting } from "./hub.mjs";

const MODEL = "dtmi:com:example:Thermostat;1";
const twins = new iothub.DigitalTwinClient(new iothub.IoTHubTokenCredentials(ready.hub_connection_string));

test(covers("a digital twin is read, changed and called", ["node-hub/rest", "digital-twins"]), { timeout: 60000 }, async (t) => {
  const { deviceId, connectionString } = await newDevice("node-digital");
  const client = await trusting(iotDevice.Client.fromConnectionString(connectionString, mqtt.Mqtt), mqtt.Mqtt);
  await client.setOptions({ modelId: MODEL });
  await client.open();
  t.after(() => client.close());
  client.onDeviceMethod("thermostat1*reset", (request, response) => response.send(200, { took: request.payload }));
  const twin = await client.getTwin();
  // The SDK does not say when it is subscribed: the answer to what it sends after that does.
  const told = new Promise((resolve) => twin.on("properties.desired.target", resolve));
  await new Promise((resolve, reject) => twin.properties.reported.update({ max: 29.5 }, (error) => (error ? reject(error) : resolve())));

  const read = await twins.getDigitalTwin(deviceId);
  assert.deepEqual([read.$dtId, read.$metadata.$model, read.max], [deviceId, MODEL, 29.5]);
  await twins.updateDigitalTwin(deviceId, [{ op: "add", path: "/target", value: 21 }]);
  assert.equal(await told, 21);
  assert.equal((await twins.getDigitalTwin(deviceId)).$metadata.target.desiredValue, 21);
  // The device has said to the hub that it takes methods once an answer comes.
  const called = await twins.invokeComponentCommand(deviceId, "thermostat1", "reset", { now: true }, { connectTimeoutInSeconds: 20 });
  assert.deepEqual(called.body ?? called.took, called.body ? { took: { now: true } } : { now: true });
});
