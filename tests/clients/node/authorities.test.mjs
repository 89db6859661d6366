// npm azure-iot-device with a certificate that an authority of the hub vouches for, over each of its transports.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";

import iotDevice from "azure-iot-device";
import amqp from "azure-iot-device-amqp";
import http from "azure-iot-device-http";
import mqtt from "azure-iot-device-mqtt";

import { covers, eventsOf, hostName, ready, registry } from "./hub.mjs";

const { Client, Message } = iotDevice;
const TRANSPORTS = { mqtt: mqtt.Mqtt, mqttWs: mqtt.MqttWs, amqp: amqp.Amqp, amqpWs: amqp.AmqpWs, http: http.Http };

const folder = mkdtempSync(join(tmpdir(), "ironbrook-authorities-"));
test.after(() => rmSync(folder, { recursive: true }));
const at = (file) => join(folder, file);
const openssl = (...words) => execFileSync("openssl", words, { stdio: "ignore" });
const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** A certificate signed by another; `extensions` makes an authority or a client's of it. */
function sign(name, signer, extensions) {
  openssl("req", "-new", ...NEW_KEY, "-subj", `/CN=${name}`, "-keyout", at(`${name}.key`), "-out", at(`${name}.csr`));
  writeFileSync(at(`${name}.ext`), extensions);
  const by = ["-CA", at(`${signer}.pem`), "-CAkey", at(`${signer}.key`), "-CAcreateserial", "-extfile", at(`${name}.ext`)];
  openssl("x509", "-req", "-in", at(`${name}.csr`), ...by, "-days", "2", "-out", at(`${name}.pem`));
}

const ROOT = "node-root";
openssl("req", "-x509", ...NEW_KEY, "-days", "2", "-subj", `/CN=${ROOT}`, "-keyout", at(`${ROOT}.key`), "-out", at(`${ROOT}.pem`));
sign("node-line", ROOT, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign");
const command = (...words) =>
  execFileSync(process.env.IRONBROOK_BIN, ["certificate", "--data-dir", ready.data_dir, ...words], { stdio: "ignore" });
command("add", ROOT, at(`${ROOT}.pem`), "--verified");

async function connected(t, name, transport, deviceId) {
  const cert = readFileSync(at(`${deviceId}.pem`), "utf8") + readFileSync(at("node-line.pem"), "utf8");
  const key = readFileSync(at(`${deviceId}.key`), "utf8");
  const client = Client.fromConnectionString(`HostName=${hostName};DeviceId=${deviceId};x509=true`, transport);
  const options = { cert, key, ca: readFileSync(ready.ca_file, "utf8") };
  // Over HTTP nothing is called back.
  if (name === "http") client.setOptions(options);
  else await client.setOptions(options);
  await client.open();
  t.after(() => client.close());
  return client;
}

/** Sends. Over HTTP the client takes its certificate up some time after `setOptions`, and tells nobody when. */
async function send(client, name) {
  const deadline = Date.now() + 10000;
  for (;;) {
    try {
      return await client.sendEvent(new Message("proved"));
    } catch (error) {
      if (name !== "http" || Date.now() > deadline) throw error;
    }
  }
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(covers("a chain to an authority of the hub proves the device", [`node-authority/${name}`, "chain"]), { timeout: 60000 }, async (t) => {
    const deviceId = `ca-${name.toLowerCase()}-${randomUUID().slice(0, 8)}`;
    await registry.create({ deviceId, authentication: { type: "certificateAuthority" } });
    sign(deviceId, "node-line", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth");
    const client = await connected(t, name, transport, deviceId);
    await send(client, name);
    const [event] = await eventsOf(deviceId, 1);
    const method = JSON.parse(event.systemProperties["iothub-connection-auth-method"]);
    assert.deepEqual([method.type, method.issuer], ["x509", "external"]);
  });
}
