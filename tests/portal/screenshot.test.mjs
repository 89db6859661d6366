// The web page in a browser: a telemetry point is on it soon, and a picture of it is kept to be looked at.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const ready = JSON.parse(process.env.IRONBROOK_READY);
const out = process.env.IRONBROOK_SCREENSHOTS ?? join(dirname(fileURLToPath(import.meta.url)), "out");
const POINT_WITHIN_MS = 45000;

async function open(t, address) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // The tests may run as root in a network namespace, where Chromium's own sandbox does not start.
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  t.after(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(address);
  return { page, errors };
}

test("a telemetry point is on the page", { timeout: 60000 }, async (t) => {
  const { page, errors } = await open(t, ready.portal_url);
  await page.waitForSelector("#latest b", { timeout: POINT_WITHIN_MS });
  await page.waitForSelector("#chart svg", { timeout: POINT_WITHIN_MS });
  assert.match(await page.textContent("#latest"), /thermistor-1 -?\d+\.\d\d °C/);
  await page.waitForSelector("#devices td[data-state=Connected]", { timeout: POINT_WITHIN_MS });
  assert.match(await page.textContent("#devices tbody"), /thermistor-1/);
  // A line needs some points; they come once a second or so.
  await page.waitForFunction(() => (document.querySelector("#chart svg path")?.getAttribute("d") ?? "").split("L").length > 5);
  mkdirSync(out, { recursive: true });
  await page.screenshot({ path: join(out, "portal.png") });
  assert.deepEqual(errors, []);
});

test("the token opens one browser only", { timeout: 60000 }, async (t) => {
  const { page } = await open(t, ready.portal_url);
  await page.waitForSelector("#refused:not([hidden])");
  assert.equal(await page.isVisible("#live"), false);
});

test("the page without a token shows nothing of the hub", { timeout: 60000 }, async (t) => {
  const { page } = await open(t, new URL("/", ready.portal_url).href);
  await page.waitForSelector("#refused:not([hidden])");
  const answer = await page.request.get(new URL("/api/devices", ready.portal_url).href);
  assert.equal(answer.status(), 401);
});
