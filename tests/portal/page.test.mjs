// The web page in a browser: telemetry, the modules of the edge device and the fall of the temperature at a reset are on it, and
// pictures of them are kept to be looked at.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { announce, ready, redeploy } from "./hub.mjs";

const out = process.env.IRONBROOK_SCREENSHOTS ?? join(dirname(fileURLToPath(import.meta.url)), "out");
const POINT_WITHIN_MS = 45_000;
const RUNNING_WITHIN_MS = 60_000;
/** Nothing here takes so long, however busy the machine. */
const PATIENCE_MS = 180_000;
const SENSOR = "edge-1/SimulatedTemperatureSensor";
const JOB = "edge-1/edgeAlertJob";

let browser;
/** The page of the one who redeems the token. */
let page;
const errors = [];

const open = async (address) => {
  const opened = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  await opened.goto(address);
  return opened;
};

const picture = (name) => page.screenshot({ path: join(out, name), fullPage: true });

before(async () => {
  mkdirSync(out, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // The tests may run as root in a network namespace, where Chromium's own sandbox does not start.
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  page = await open(ready.portal_url);
  page.on("pageerror", (error) => errors.push(String(error)));
});

after(() => browser?.close());

test("a telemetry point is on the page", { timeout: PATIENCE_MS }, async () => {
  const legend = page.locator("#latest li", { hasText: "thermistor-1" });
  await legend.locator("b").waitFor({ timeout: POINT_WITHIN_MS });
  assert.match(await legend.textContent(), /thermistor-1 -?\d+\.\d\d °C/);
  const device = page.locator("#devices tbody tr", { hasText: "thermistor-1" });
  await device.locator("[data-state=Connected]").waitFor({ timeout: POINT_WITHIN_MS });
  // A line needs some points; they come once a second or so.
  await page.waitForFunction(() => (document.querySelector("#chart path[data-series=thermistor-1]")?.getAttribute("d") ?? "").split("L").length > 5);
  await picture("portal.png");
  assert.deepEqual(errors, []);
});

test("a device is listed with the model it announced", { timeout: PATIENCE_MS }, async () => {
  const model = "dtmi:com:example:Thermostat;1";
  await announce("page-pnp", model);
  const device = page.locator("#devices tbody tr", { hasText: "page-pnp" });
  await device.getByText(model).waitFor({ timeout: POINT_WITHIN_MS });
});

test("the modules of the edge device are listed", { timeout: PATIENCE_MS }, async () => {
  const table = page.locator("article[data-device='edge-1'] table");
  await page.waitForFunction(() => document.querySelectorAll("article[data-device='edge-1'] [data-status=running]").length === 4, null, { timeout: RUNNING_WITHIN_MS });
  assert.deepEqual(await table.locator("th").allTextContents(), ["NAME", "STATUS", "DESCRIPTION", "CONFIG"]);
  const rows = await table.locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  const images = {
    SimulatedTemperatureSensor: /\/azureiotedge-simulated-temperature-sensor:/,
    edgeAgent: /\/azureiotedge-agent:/,
    edgeAlertJob: /\/azure-stream-analytics\/azureiotedge:/,
    edgeHub: /\/azureiotedge-hub:/,
  };
  assert.deepEqual(rows.map(([name]) => name), Object.keys(images));
  for (const [name, status, description, config] of rows) {
    assert.equal(status, "running", name);
    assert.match(description, /^Up \d+ (second|minute)s?$/, name);
    assert.match(config, images[name]);
  }
  const head = page.locator("article[data-device='edge-1'] h3");
  await head.getByText("agent connected", { exact: true }).waitFor();
  await head.getByText("hub connected", { exact: true }).waitFor({ timeout: RUNNING_WITHIN_MS });
  await head.getByText("deployment 200", { exact: true }).waitFor();
  assert.deepEqual(errors, []);
});

test("the temperature of the machine falls at a reset, and the alert is marked", { timeout: PATIENCE_MS }, async () => {
  await page.locator(`#chart path[data-series='${SENSOR}']`).first().waitFor({ timeout: POINT_WITHIN_MS });
  // Fast, so that the machine is hot in seconds, and with an early alert.
  await redeploy("edge-1", ["SimulatedTemperatureSensor", "edgeAlertJob"], (desired) => {
    desired.$edgeAgent.modules.SimulatedTemperatureSensor.env.MessageDelay = { value: "00:00:00.2" };
    desired.SimulatedTemperatureSensor = { SendData: true };
    desired.edgeAlertJob.query = "SELECT 'reset' AS command INTO alert FROM temperature TIMESTAMP BY timeCreated GROUP BY TumblingWindow(second, 3) HAVING AVG(machine.temperature) > 40";
  });
  const alert = page.locator(`#chart line.alert[data-from='${JOB}'][data-command=reset]`).first();
  await alert.waitFor({ state: "attached", timeout: PATIENCE_MS });
  // The alert and the next temperature come by ways of their own: the fall is looked for around the alert.
  const [before, then] = await page.waitForFunction(fall, { sensor: SENSOR, near: Number(await alert.getAttribute("data-time")) }, { polling: 500, timeout: PATIENCE_MS }).then((found) => found.jsonValue());
  assert.ok(before > 35, `${before} before the reset`);
  assert.ok(then > 20 && then < 23, `${then} after the reset`);
  const tip = page.locator("#tip");
  // The line moves as time goes on, so a hand may miss it.
  while (!(await tip.isVisible())) await alert.hover({ force: true });
  assert.match(await tip.innerText(), /\d\d:\d\d:\d\d reset\s+from edge-1\/edgeAlertJob\s+\[\{"command":"reset"\}\]/);
  await page.mouse.move(0, 0);
  await tip.waitFor({ state: "hidden" });
  // And again: the picture shows the climb after the fall.
  await page.locator("#chart line.alert").nth(1).waitFor({ state: "attached", timeout: PATIENCE_MS });
  await picture("reset.png");
  assert.deepEqual(errors, []);
});

/** The two temperatures around the steepest fall near an alert, once there is one; runs in the page. */
async function fall({ sensor, near }) {
  const { series } = await (await fetch("/api/telemetry?from=0")).json();
  const { points } = series.find(({ device, module }) => `${device}/${module}` === sensor);
  const pairs = points.slice(1).map((point, i) => [points[i], point]);
  const found = pairs.find(([[, hot], [time, cold]]) => Math.abs(time - near) < 10_000 && hot - cold > 10);
  return found?.map(([, degrees]) => degrees);
}

test("a series can be taken off the chart and put back", { timeout: PATIENCE_MS }, async () => {
  const line = page.locator("#chart path[data-series=thermistor-1]").first();
  const box = page.locator("#latest li", { hasText: "thermistor-1" }).locator("input");
  await box.uncheck();
  await line.waitFor({ state: "detached" });
  await box.check();
  await line.waitFor({ state: "attached" });
});

test("a narrow page is not wider than its window", { timeout: PATIENCE_MS }, async () => {
  await page.setViewportSize({ width: 390, height: 800 });
  await page.emulateMedia({ colorScheme: "dark" });
  await page.waitForFunction(() => Number(document.querySelector("#chart svg")?.getAttribute("viewBox").split(" ")[2]) < 390);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  await picture("narrow.png");
});

test("the token opens one browser only", { timeout: PATIENCE_MS }, async () => {
  const other = await browser.newContext();
  const refused = await other.newPage();
  await refused.goto(ready.portal_url);
  await refused.waitForSelector("#refused:not([hidden])");
  for (const section of ["#live", "#edge", "#devices"]) assert.equal(await refused.isVisible(section), false);
});

test("the page without a token shows nothing of the hub", { timeout: PATIENCE_MS }, async () => {
  const other = await browser.newContext();
  const stranger = await other.newPage();
  await stranger.goto(new URL("/", ready.portal_url).href);
  await stranger.waitForSelector("#refused:not([hidden])");
  for (const path of ["/api/devices", "/api/edge", "/api/telemetry"]) {
    const answer = await other.request.get(new URL(path, ready.portal_url).href);
    assert.equal(answer.status(), 401, path);
  }
});
