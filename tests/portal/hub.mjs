// The hub's service API with nothing of an SDK: what a test changes while the page looks on.

import { createHmac } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:tls";

export const ready = JSON.parse(process.env.IRONBROOK_READY);

const parse = (text) => Object.fromEntries(text.split(";").map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)]));

const signed = (uri, key) => {
  const resource = encodeURIComponent(uri);
  const expires = Math.floor(Date.now() / 1000) + 3600;
  const signature = createHmac("sha256", Buffer.from(key, "base64")).update(`${resource}\n${expires}`).digest("base64");
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expires}`;
};

const token = () => {
  const { HostName, SharedAccessKeyName, SharedAccessKey } = parse(ready.hub_connection_string);
  return `${signed(HostName.split(":")[0], SharedAccessKey)}&skn=${SharedAccessKeyName}`;
};

const call = async (method, path, body) => {
  const { HostName } = parse(ready.hub_connection_string);
  const answer = await fetch(`https://${HostName}${path}?api-version=2021-04-12`, {
    method,
    headers: { authorization: token(), "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
};

/** The desired properties of a module, as a manifest has them. */
const desired = async (device, module) => {
  const { $metadata, $version, ...members } = (await call("GET", `/twins/${device}/modules/${module}`)).properties.desired;
  return members;
};

/** Deploys what is deployed already, after `change` has changed it: it gets the desired properties by module. */
export const redeploy = async (device, modules, change) => {
  const sections = {};
  for (const module of ["$edgeAgent", "$edgeHub", ...modules]) sections[module] = await desired(device, module);
  change(sections);
  const modulesContent = Object.fromEntries(Object.entries(sections).map(([module, desired]) => [module, { "properties.desired": desired }]));
  await call("POST", `/devices/${device}/applyConfigurationContent`, { modulesContent });
};

/** Makes a device that connects over MQTT, announces a model, and goes. */
export const announce = async (device, model) => {
  const host = parse(ready.hub_connection_string).HostName.split(":")[0];
  const { primaryKey } = (await call("PUT", `/devices/${device}`, { deviceId: device })).authentication.symmetricKey;
  const text = (value) => Buffer.concat([Buffer.from([value.length >> 8, value.length & 255]), Buffer.from(value)]);
  const user = `${host}/${device}/?api-version=2021-04-12&model-id=${encodeURIComponent(model)}`;
  const body = Buffer.concat([
    text("MQTT"),
    Buffer.from([4, 0xc2, 0, 60]), // version, clean session with user name and password, keep-alive
    ...[device, user, signed(`${host}/devices/${device}`, primaryKey)].map(text),
  ]);
  const socket = connect({ host, port: Number(ready.listeners.mqtt[0].split(":").at(-1)), servername: host });
  await once(socket, "secureConnect");
  // The length fits two bytes of seven bits.
  socket.write(Buffer.concat([Buffer.from([0x10, (body.length & 127) | 128, body.length >> 7]), body]));
  const [answer] = await once(socket, "data");
  if (answer[3] !== 0) throw new Error(`CONNACK ${answer[3]}`);
  socket.end(Buffer.from([0xe0, 0]));
};
