// The page: opens a session with the setup token, lists devices and modules, draws temperatures as they come.

import { clock, draw } from "/chart.js";
import { element, keep, setData, setText } from "/dom.js";
import { listEdge } from "/edge.js";
import { Chosen } from "/series.js";

const SPAN_MS = 10 * 60 * 1000;
const POLL_MS = 1000;
const LIST_MS = 2000;
const $ = (selector) => document.querySelector(selector);
const series = new Chosen(SPAN_MS);
let redraw = false;
/** The server's clock minus this one's. */
let ahead = 0;
/** From a place on the chart to the alert there. */
let alertAt = () => undefined;

const link = (state, text) => {
  setData($("#link"), "state", state);
  setText($("#link"), text);
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

const updateDevice = (row, { deviceId, modelId, connectionState, status, lastActivityTime }) => {
  const activity = lastActivityTime?.startsWith("0001") ? "" : lastActivityTime?.slice(0, 19).replace("T", " ");
  const last = series.latest(deviceId);
  const texts = [deviceId, modelId, connectionState, status, activity ?? "", last === undefined ? "" : `${last.toFixed(2)} °C`];
  texts.forEach((text, index) => setText(row.cells[index], text ?? ""));
  setData(row.cells[2], "state", connectionState ?? "");
  setData(row.cells[3], "state", status ?? "");
};

const makeDevice = () => {
  const row = element("tr", {}, ...Array.from({ length: 6 }, () => element("td")));
  row.cells[5].className = "number";
  return row;
};

const listDevices = async () => {
  const said = $("#devices .said");
  try {
    const answer = await fetch("/api/devices");
    if (answer.status === 401) return;
    const devices = await answer.json();
    setText(said, devices.error ? `Devices cannot be read: ${devices.error}` : "");
    if (!devices.error) keep($("#devices tbody"), devices, ({ deviceId }) => deviceId, makeDevice, updateDevice);
  } catch {
    // The line at the top of the page says that there is no connection.
  }
  said.hidden = !said.textContent;
};

/** Does `what` now and again and again, each time after the one before has ended. */
const repeat = async (what, pauseMs) => {
  for (;;) {
    await what();
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
};

const paint = () => {
  if (redraw) {
    redraw = false;
    const now = Date.now() + ahead;
    const drawn = series.drawn(now);
    alertAt = draw($("#chart"), drawn, now, SPAN_MS);
    series.legend($("#latest"), drawn, () => { redraw = true; });
  }
  setTimeout(() => requestAnimationFrame(paint), 250);
};

/** Tells about the alert that is pointed at. */
const pointAt = (event) => {
  const tip = $("#tip");
  const box = $("#chart").getBoundingClientRect();
  const alert = alertAt(event.clientX - box.left);
  tip.hidden = !alert;
  if (!alert) return;
  tip.replaceChildren(element("b", {}, `${clock(alert.time)} ${alert.command}`), element("span", {}, `from ${alert.name}`), element("code", {}, alert.body));
  tip.style.left = `${Math.max(0, Math.min(alert.x, box.width - tip.offsetWidth))}px`;
};

/** Asks for what is new, for ever. A restarted server counts anew, so everything is drawn anew. */
const follow = async () => {
  let from = 0;
  for (;;) {
    try {
      const answer = await fetch(`/api/telemetry?from=${from}`);
      if (answer.status === 401) return link("lost", "signed out: ironbrook was started again");
      const news = await answer.json();
      if (news.next < from) series.clear();
      ahead = news.now - Date.now();
      redraw = series.add(news) || redraw;
      from = news.next;
      link("live", "live");
    } catch {
      link("lost", "connection lost, trying again …");
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
};

if (await openSession()) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id === "refused";
  $("#plot").addEventListener("pointermove", pointAt);
  $("#plot").addEventListener("pointerleave", () => { $("#tip").hidden = true; });
  new ResizeObserver(() => { redraw = true; }).observe($("#chart"));
  follow();
  paint();
  repeat(listDevices, LIST_MS);
  repeat(() => listEdge($("#edge")), LIST_MS);
} else {
  link("lost", "not signed in");
  $("#refused").hidden = false;
}
