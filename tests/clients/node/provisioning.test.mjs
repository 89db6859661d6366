// npm azure-iot-provisioning-device over its transports, and azure-iot-provisioning-service for enrolments.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";

import iotDevice from "azure-iot-device";
import deviceMqtt from "azure-iot-device-mqtt";
import provisioning from "azure-iot-provisioning-device";
import amqp from "azure-iot-provisioning-device-amqp";
import http from "azure-iot-provisioning-device-http";
import mqtt from "azure-iot-provisioning-device-mqtt";
import service from "azure-iot-provisioning-service";
import symmetricKey from "azure-iot-security-symmetric-key";
import x509 from "azure-iot-security-x509";

import { covers, eventsOf, ready } from "./hub.mjs";

const TRANSPORTS = { mqtt: mqtt.Mqtt, mqttWs: mqtt.MqttWs, amqp: amqp.Amqp, amqpWs: amqp.AmqpWs, http: http.Http };
const HOST = "localhost";
const enrolments = service.ProvisioningServiceClient.fromConnectionString(ready.provisioning_connection_string);

/** Registers with a security client; gives what the service says. */
async function register(security, transport) {
  const client = provisioning.ProvisioningDeviceClient.create(HOST, ready.provisioning_id_scope, new transport(), security);
  return client.register();
}

/** Connects to the hub it was assigned to, and sends. */
async function send(t, assigned, proof) {
  const { Client, Message } = iotDevice;
  const name = `HostName=${assigned.assignedHub};DeviceId=${assigned.deviceId}`;
  const string = proof.key ? `${name};SharedAccessKey=${proof.key}` : `${name};x509=true`;
  const client = Client.fromConnectionString(string, deviceMqtt.Mqtt);
  await client.setOptions({ ca: readFileSync(ready.ca_file, "utf8"), ...proof.certificate });
  await client.open();
  t.after(() => client.close());
  await client.sendEvent(new Message("provisioned"));
  const [event] = await eventsOf(assigned.deviceId, 1);
  assert.equal(event.body.toString(), "provisioned");
}

const id = (prefix) => `${prefix}-${randomUUID().slice(0, 8)}`;

/** An authority and a certificate of a name that it signed. */
function certificates(name) {
  const folder = mkdtempSync(join(tmpdir(), "ironbrook-provisioning-"));
  const at = (file) => join(folder, file);
  const openssl = (...words) => execFileSync("openssl", words, { stdio: "ignore" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  openssl("req", "-x509", ...key, "-days", "2", "-subj", "/CN=Node Root", "-keyout", at("ca.key"), "-out", at("ca.pem"));
  openssl("req", "-new", ...key, "-subj", `/CN=${name}`, "-keyout", at("key.pem"), "-out", at("request.pem"));
  writeFileSync(at("extensions"), "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth");
  const sign = ["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", at("extensions")];
  openssl("x509", "-req", "-in", at("request.pem"), ...sign, "-out", at("cert.pem"));
  const [authority, cert, privateKey] = ["ca.pem", "cert.pem", "key.pem"].map((file) => readFileSync(at(file), "utf8"));
  rmSync(folder, { recursive: true });
  return { authority, pair: { cert, key: privateKey } };
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(covers("a device with a key", [`node-provisioning/${name}`, "individual"]), { timeout: 60000 }, async (t) => {
    const registrationId = id(`own-${name.toLowerCase()}`);
    const { responseBody } = await enrolments.createOrUpdateIndividualEnrollment({
      registrationId,
      attestation: { type: "symmetricKey" },
    });
    const key = responseBody.attestation.symmetricKey.primaryKey;
    const assigned = await register(new symmetricKey.SymmetricKeySecurityClient(registrationId, key), transport);
    assert.deepEqual([assigned.assignedHub, assigned.deviceId, assigned.status], [HOST, registrationId, "assigned"]);
    await send(t, assigned, { key });
  });

  test(covers("a device of a group by its authority", [`node-provisioning/${name}`, "x509"]), { timeout: 60000 }, async (t) => {
    const registrationId = id(`cert-${name.toLowerCase()}`);
    const { authority, pair } = certificates(registrationId);
    await enrolments.createOrUpdateEnrollmentGroup({
      enrollmentGroupId: `group-${registrationId}`,
      attestation: { type: "x509", x509: { signingCertificates: { primary: { certificate: authority } } } },
    });
    const assigned = await register(new x509.X509Security(registrationId, pair), transport);
    assert.equal(assigned.deviceId, registrationId);
    await send(t, assigned, { certificate: pair });
  });
}

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(covers("a group with derived keys", [`node-provisioning/${name}`, "group"]), { timeout: 60000 }, async (t) => {
    const enrollmentGroupId = id("group");
    await enrolments.createOrUpdateEnrollmentGroup({ enrollmentGroupId, attestation: { type: "symmetricKey" } });
    const { responseBody } = await enrolments.getEnrollmentGroupAttestationMechanism(enrollmentGroupId);
    const groupKey = responseBody.symmetricKey.primaryKey;
    const registrationId = id(`derived-${name.toLowerCase()}`);
    const key = createHmac("SHA256", Buffer.from(groupKey, "base64")).update(registrationId).digest("base64");
    const assigned = await register(new symmetricKey.SymmetricKeySecurityClient(registrationId, key), transport);
    assert.equal(assigned.deviceId, registrationId);
    await send(t, assigned, { key });
    const query = enrolments.createEnrollmentGroupDeviceRegistrationStateQuery({ query: "*" }, enrollmentGroupId, 10);
    const { responseBody: items } = await query.next();
    assert.equal(items[0].registrationId, registrationId);
  });
}

test("enrolments are read, queried, changed with their etag, and deleted", { timeout: 60000 }, async () => {
  const registrationId = id("kept");
  const made = await enrolments.createOrUpdateIndividualEnrollment({ registrationId, attestation: { type: "symmetricKey" } });
  const { responseBody: read } = await enrolments.getIndividualEnrollment(registrationId);
  assert.equal(read.etag, made.responseBody.etag);
  const changed = await enrolments.createOrUpdateIndividualEnrollment({ ...read, provisioningStatus: "disabled" });
  assert.equal(changed.responseBody.provisioningStatus, "disabled");
  await assert.rejects(enrolments.createOrUpdateIndividualEnrollment({ ...read }), /PreconditionFailed|412|Precondition/);
  await enrolments.deleteIndividualEnrollment(registrationId);
  await assert.rejects(enrolments.getIndividualEnrollment(registrationId));
});

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  test(`${name}: who is not enrolled is refused`, { timeout: 60000 }, async () => {
    const key = Buffer.from("a key of nobody's, long enough").toString("base64");
    await assert.rejects(register(new symmetricKey.SymmetricKeySecurityClient(id("nobody"), key), transport));
  });
}
