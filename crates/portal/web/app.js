// The page: opens a session with the setup token, lists devices, draws temperatures as they come.

import { colour, draw } from "/chart.js";

const SPAN_MS = 10 * 60 * 1000;
const POINTS_MAX = 5000;
const POLL_MS = 1000;
const $ = (selector) => document.querySelector(selector);
const series = new Map();
let redraw = false;

const link = (state, text) => {
  $("#link").dataset.state = state;
  $("#link").textContent = text;
};

/** Redeems the token of the address, once, and takes it out of the address bar and the history. */
const openSession = async () => {
  const token = new URLSearchParams(location.search).get("token");
  if (token) {
    history.replaceState(null, "", "/");
    await fetch("/api/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token }) });
  }
  const answer = await fetch("/api/hub");
  if (!answer.ok) return false;
  const hub = await answer.json();
  $("#hub").textContent = `${hub.name} at ${hub.host}`;
  return true;
};

const add = ({ device, time, temperature }) => {
  const points = series.get(device) ?? series.set(device, []).get(device);
  points.push([time, temperature]);
  if (points.length > POINTS_MAX) points.splice(0, points.length - POINTS_MAX);
  redraw = true;
};

const cell = (row, text, state, className) => {
  const td = row.insertCell();
  td.textContent = text;
  if (state) td.dataset.state = state;
  if (className) td.className = className;
};

const listDevices = async () => {
  const answer = await fetch("/api/devices");
  if (!answer.ok) return;
  const body = document.createElement("tbody");
  for (const device of await answer.json()) {
    const row = body.insertRow();
    const last = series.get(device.deviceId)?.at(-1);
    const activity = device.lastActivityTime?.startsWith("0001") ? "" : device.lastActivityTime?.slice(0, 19).replace("T", " ");
    cell(row, device.deviceId);
    cell(row, device.connectionState, device.connectionState);
    cell(row, device.status, device.status);
    cell(row, activity ?? "");
    cell(row, last ? `${last[1].toFixed(2)} °C` : "", null, "number");
  }
  $("#devices tbody").replaceWith(body);
};

const paint = () => {
  if (redraw) {
    redraw = false;
    draw($("#chart"), series, Date.now(), SPAN_MS);
    $("#latest").replaceChildren(...[...series].map(([name, points], index) => {
      const span = document.createElement("span");
      const value = document.createElement("b");
      value.textContent = `${points.at(-1)[1].toFixed(2)} °C`;
      span.style.color = colour(index);
      span.append(`${name} `, value);
      return span;
    }));
  }
  setTimeout(() => requestAnimationFrame(paint), 250);
};

/** Asks for what is new, for ever. A restarted server counts anew, so everything is drawn anew. */
const follow = async () => {
  let from = 0;
  for (;;) {
    try {
      const answer = await fetch(`/api/telemetry?from=${from}`);
      if (answer.status === 401) return link("lost", "signed out: ironbrook was started again");
      const { points, next } = await answer.json();
      if (next < from) series.clear();
      points.forEach(add);
      from = next;
      link("live", "live");
    } catch {
      link("lost", "connection lost, trying again …");
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
};

if (await openSession()) {
  $("#live").hidden = $("#devices").hidden = false;
  follow();
  paint();
  await listDevices();
  setInterval(listDevices, 2000);
} else {
  link("lost", "not signed in");
  $("#refused").hidden = false;
}
