// The hub's service API with nothing of an SDK: what a test changes while the page looks on.

import { createHmac } from "node:crypto";

export const ready = JSON.parse(process.env.IRONBROOK_READY);

const parse = (text) => Object.fromEntries(text.split(";").map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)]));

const token = () => {
  const { HostName, SharedAccessKeyName, SharedAccessKey } = parse(ready.hub_connection_string);
  const resource = encodeURIComponent(HostName.split(":")[0]);
  const expires = Math.floor(Date.now() / 1000) + 3600;
  const signature = createHmac("sha256", Buffer.from(SharedAccessKey, "base64")).update(`${resource}\n${expires}`).digest("base64");
  return `SharedAccessSignature sr=${resource}&sig=${encodeURIComponent(signature)}&se=${expires}&skn=${SharedAccessKeyName}`;
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
