// npm azure-iot-device with a self-signed certificate that the hub knows by its thumbprint.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";

import iotDevice from "azure-iot-device";

import { CONNECTED, HTTP, covers, eventsOf, hostName, ready, registry } from "./hub.mjs";

const { Client, Message } = iotDevice;

/** A key and a certificate for it. */
function certificate(name) {
  const folder = mkdtempSync(join(tmpdir(), "ironbrook-certificate-"));
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const make = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  execFileSync("openssl", [...make, "-subj", `/CN=${name}`, "-keyout", key, "-out", cert], { stdio: "ignore" });
  const found = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
  rmSync(folder, { recursive: true });
  return found;
}

for (const [column, transport] of [...CONNECTED, HTTP]) {
  test(covers("thumbprint", [column, "connect-x509"]), { timeout: 60000 }, async (t) => {
    const deviceId = `node-x509-${randomUUID().slice(0, 8)}`;
    const { key, cert } = certificate(deviceId);
    const thumbprint = new X509Certificate(cert).fingerprint.replaceAll(":", "");
    await registry.create({
      deviceId,
      authentication: { type: "selfSigned", x509Thumbprint: { primaryThumbprint: thumbprint, secondaryThumbprint: null } },
    });
    const client = Client.fromConnectionString(`HostName=${hostName};DeviceId=${deviceId};x509=true`, transport);
    // Over HTTP nothing is called back, and the environment's authority is used.
    if (column === HTTP[0]) client.setOptions({ cert, key });
    else await client.setOptions({ cert, key, ca: readFileSync(ready.ca_file, "utf8") });
    await client.open();
    t.after(() => client.close());
    await client.sendEvent(new Message("proved"));
    const [event] = await eventsOf(deviceId, 1);
    const method = JSON.parse(event.systemProperties["iothub-connection-auth-method"]);
    assert.equal(method.type, "x509");
  });
}
