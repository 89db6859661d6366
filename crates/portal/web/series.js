// The series of the chart: who sends temperatures, which of them are drawn, and in what colour.

import { element, keep, setText } from "/dom.js";

const POINTS_MAX = 5000;
const ALERTS_MAX = 500;
/** So many are drawn unless somebody chooses otherwise: the busiest. */
const DRAWN_BY_DEFAULT = 6;
/** Colours there are: `--series-0` and on, in the style sheet. */
const COLOURS = 6;

/** `device`, or `device/module`. */
export const nameOf = ({ device, module }) => (module ? `${device}/${module}` : device);

export class Chosen {
  /** Name to {name, device, colour, points, chosen}; `chosen` is true or false once somebody said so. */
  #series = new Map();
  #alerts = [];
  #spanMs;

  constructor(spanMs) {
    this.#spanMs = spanMs;
  }

  clear() {
    this.#series.clear();
    this.#alerts = [];
  }

  /** Takes in what an answer of the server brings; true if that is anything. */
  add({ series, alerts }) {
    for (const { device, module, points } of series) {
      const name = nameOf({ device, module });
      if (!this.#series.has(name)) {
        const colour = `var(--series-${this.#series.size % COLOURS})`;
        this.#series.set(name, { name, device, colour, points: [] });
      }
      const kept = this.#series.get(name).points;
      for (const point of points) kept.push(point);
      if (kept.length > POINTS_MAX) kept.splice(0, kept.length - POINTS_MAX);
    }
    for (const alert of alerts) this.#alerts.push({ ...alert, name: nameOf(alert) });
    if (this.#alerts.length > ALERTS_MAX) this.#alerts.splice(0, this.#alerts.length - ALERTS_MAX);
    return series.length + alerts.length > 0;
  }

  /** The last temperature of a series by its name. */
  latest(name) {
    return this.#series.get(name)?.points.at(-1)?.[1];
  }

  /** What is to be drawn at `now`: series, and the alerts of their devices. */
  drawn(now) {
    const from = now - this.#spanMs;
    const recent = [...this.#series.values()].map((series) => {
      const first = series.points.findIndex(([time]) => time >= from);
      return { ...series, points: first < 0 ? [] : series.points.slice(first) };
    });
    const busiest = recent.toSorted((a, b) => b.points.length - a.points.length).slice(0, DRAWN_BY_DEFAULT);
    const names = new Set(busiest.map(({ name }) => name));
    const series = recent.filter(({ name, chosen, points }) => points.length > 0 && (chosen ?? names.has(name)));
    const devices = new Set(series.map(({ device }) => device));
    const alerts = this.#alerts.filter(({ time, device }) => time >= from && devices.has(device));
    return { series, alerts };
  }

  /** Brings the legend up to date: a box to tick, a name and the last value per series. `changed` is called after a click. */
  legend(list, drawn, changed) {
    const names = new Set(drawn.series.map(({ name }) => name));
    const make = (series) => {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => {
        this.#series.get(series.name).chosen = box.checked;
        changed();
      });
      const swatch = element("i", { style: `--colour: ${series.colour}` });
      return element("li", {}, element("label", {}, box, swatch, element("span", {}, series.name), " ", element("b")));
    };
    const update = (item, { name, points, chosen }) => {
      item.querySelector("input").checked = chosen ?? names.has(name);
      setText(item.querySelector("b"), `${points.at(-1)[1].toFixed(2)} °C`);
    };
    keep(list, [...this.#series.values()], ({ name }) => name, make, update);
  }
}
