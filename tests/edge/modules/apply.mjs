// Sets the modules of an edge device with the stock Node SDK: apply.mjs DEVICE FILE; the service's connection string is in SERVICE.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../clients/node/package.json", import.meta.url));
const { Registry } = require("azure-iothub");

const [device, file] = process.argv.slice(2);
const registry = Registry.fromConnectionString(process.env.SERVICE);
await registry.applyConfigurationContentOnDevice(device, JSON.parse(readFileSync(file, "utf8")));
