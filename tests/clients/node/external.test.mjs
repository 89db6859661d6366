// Routing to another Blob account than the built-in one: azurite, with a second hub that writes to it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";

import { BlobServiceClient } from "@azure/storage-blob";

const azurite = createRequire(import.meta.url).resolve("azurite/dist/src/blob/main.js");
// The account and key that every azurite has; public, and good for nothing else.
const NAME = "devstoreaccount1";
const KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/** Ports that nobody uses; open together, so that they differ. */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

function start(t, command, args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGINT");
    await once(child, "exit");
  });
  return createInterface({ input: child.stdout });
}

test("telemetry is routed to another account", { timeout: 90000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "ironbrook-external-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const doors = ["mqtt", "https", "https_fallback", "amqp", "amqp_plain", "portal", "blob"];
  const [port, ...ports] = await freePorts(1 + doors.length);
  const account = `DefaultEndpointsProtocol=http;AccountName=${NAME};AccountKey=${KEY};BlobEndpoint=http://127.0.0.1:${port}/${NAME};`;

  const said = start(t, process.execPath, [
    azurite,
    ...["--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"],
    ...["--blobHost", "127.0.0.1", "--blobPort", String(port)],
  ]);
  for await (const line of said) if (line.includes("successfully listens")) break;

  // As in Azure, containers are made before anything is routed to them.
  const service = BlobServiceClient.fromConnectionString(account);
  for (const name of ["telemetry-json", "telemetry-avro"]) await service.createContainer(name);

  const config = join(folder, "ironbrook.toml");
  writeFileSync(
    config,
    `[listen]\n${doors.map((door, index) => `${door} = "127.0.0.1:${ports[index]}"`).join("\n")}\n` +
      `[storage]\nbatch_seconds = 2\nconnection_string = "${account}"\n`,
  );
  const ready = start(t, process.env.IRONBROOK_BIN, [
    ...["dev", "--no-edge", "--output", "json", "--config", config, "--data-dir", join(folder, "data")],
  ]);
  const [line] = await once(ready, "line");
  assert.ok(JSON.parse(line).hub_connection_string);

  const found = new Map();
  while (!found.has("json") || !found.has("avro")) {
    for await (const container of service.listContainers()) {
      const client = service.getContainerClient(container.name);
      for await (const blob of client.listBlobsFlat()) found.set(blob.name.split(".").at(-1), { client, name: blob.name });
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const { client, name } = found.get("json");
  assert.match(name, /^ironbrook\/\d\d\/\d{4}\/\d\d\/\d\d\/\d\d\/\d\d/);
  const text = (await client.getBlobClient(name).downloadToBuffer()).toString();
  const record = JSON.parse(text.split("\n")[0]);
  assert.equal(record.SystemProperties.connectionDeviceId, "thermistor-1");
  assert.equal(typeof record.Body.temperature, "number");
});
