// The page: opens a session with the setup token, lists devices, draws temperatures as they come.

import { colour, draw } from "/chart.js";

const SPAN_MS = 10 * 60 * 1000;
const POINTS_MAX = 5000;
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

const follow = () => {
  const source = new EventSource("/api/telemetry");
  source.addEventListener("open", () => link("live", "live"));
  source.addEventListener("error", () => link("lost", "connection lost, trying again …"));
  // After a reconnect the server sends its history again: start over instead of drawing points twice.
  source.addEventListener("start", () => series.clear());
  source.addEventListener("point", (event) => add(JSON.parse(event.data)));
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
