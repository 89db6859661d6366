// The modules of edge devices, with the columns of `ironbrook edge list`.

import { element, keep, setData, setText } from "/dom.js";

const COLUMNS = ["NAME", "STATUS", "DESCRIPTION", "CONFIG"];
const moment = (text) => text.slice(0, 19).replace("T", " ");

const makeDevice = ({ device }) => {
  const head = element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)));
  return element("article", { "data-device": device },
    element("h3", {},
      element("span", { class: "name" }, device),
      element("span", { class: "pill agent" }),
      element("span", { class: "pill hub" }),
      element("span", { class: "pill deployment" })),
    element("p", { class: "note" }),
    element("table", { class: "modules" }, element("thead", {}, head), element("tbody")));
};

const connection = (pill, who, connected) => {
  setText(pill, `${who} ${connected ? "connected" : "not connected"}`);
  setData(pill, "state", connected ? "good" : "bad");
};

/** What has to be said of a device besides its table. */
const note = ({ deployment, agent_connected, reported_at }) => {
  if (!deployment) return agent_connected ? "The agent has not reported yet." : "No agent has reported yet.";
  const notes = [];
  if (deployment.description) notes.push(deployment.description);
  if (!agent_connected) notes.push(`The agent is not connected; this is what it last reported${reported_at ? `, ${moment(reported_at)} UTC` : ""}.`);
  return notes.join("\n");
};

const updateDevice = (article, device) => {
  const { deployment, agent_connected, hub_connected, modules } = device;
  const part = (selector) => article.querySelector(selector);
  connection(part(".agent"), "agent", agent_connected);
  connection(part(".hub"), "hub", hub_connected);
  setText(part(".deployment"), deployment ? `deployment ${deployment.code}` : "");
  setData(part(".deployment"), "state", deployment?.code === 200 ? "good" : "bad");
  const text = note(device);
  setText(part(".note"), text);
  part(".note").hidden = !text;
  part("table").hidden = modules.length === 0;
  setData(part("table"), "stale", agent_connected ? null : "yes");
  keep(part("tbody"), modules, ({ name }) => name, makeModule, updateModule);
};

const makeModule = () => element("tr", {},
  ...COLUMNS.map((name) => element("td", { class: name.toLowerCase() })));

const updateModule = (row, { name, status, description, config, restarts }) => {
  const again = restarts > 0 ? `${description} (${restarts} ${restarts === 1 ? "restart" : "restarts"})` : description;
  [name, status || "unknown", again, config].forEach((text, index) => setText(row.cells[index], text));
  setData(row.cells[1], "status", status || "unknown");
};

/** Asks for the edge devices and shows them, or why they cannot be shown. */
export const listEdge = async (section) => {
  const say = (text) => {
    const line = section.querySelector(".said");
    setText(line, text);
    line.hidden = !text;
  };
  try {
    const answer = await fetch("/api/edge");
    if (answer.status === 401) return;
    const { error, devices, more } = await answer.json();
    if (error) return say(`Edge devices cannot be read: ${error}`);
    keep(section.querySelector(".edge-devices"), devices, ({ device }) => device, makeDevice, updateDevice);
    say(devices.length === 0 ? "No edge device is registered." : more ? `Only the first ${devices.length} edge devices are shown.` : "");
  } catch {
    // The line at the top of the page says that there is no connection.
  }
};
