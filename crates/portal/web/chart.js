// A line chart of several series over time with alerts as vertical lines, drawn as SVG. Gaps in the data stay gaps in the line.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 320;
const MARGIN = { left: 48, right: 12, top: 24, bottom: 24 };
/** So near to an alert, in pixels, one points at it. */
const REACH = 12;
/** No shorter pause is a gap: messages travel in batches. */
const MOMENT_MS = 3000;

const element = (name, attributes, text) => {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
};

/** A step of 1, 2 or 5 times a power of ten that gives about `count` ticks over `span`. */
export const niceStep = (span, count) => {
  const rough = span / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough);
};

/** Splits points [time, value] wherever the distance is more than three times the median one, and longer than a moment. */
export const segments = (points) => {
  const steps = points.slice(1).map((p, i) => p[0] - points[i][0]).sort((a, b) => a - b);
  const limit = Math.max(MOMENT_MS, 3 * (steps[steps.length >> 1] ?? Infinity));
  const out = [];
  points.forEach((point, i) => {
    if (i === 0 || point[0] - points[i - 1][0] > limit) out.push([]);
    out.at(-1).push(point);
  });
  return out;
};

const bounds = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

/** Where things are: functions from time and value to pixels. */
const scales = (series, now, spanMs, width) => {
  const points = series.flatMap((s) => s.points);
  const first = bounds(points.map((p) => p[0]))[0];
  const start = Math.max(now - spanMs, Math.min(now - 15_000, first));
  const [least, most] = bounds(points.map((p) => p[1]));
  const pad = Math.max((most - least) * 0.1, 0.5);
  const [low, high] = [least - pad, most + pad];
  const x = (t) => MARGIN.left + ((t - start) / (now - start)) * (width - MARGIN.left - MARGIN.right);
  const y = (v) => HEIGHT - MARGIN.bottom - ((v - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  return { x, y, start, low, high };
};

const grid = (svg, { x, y, start, low, high }, now, width) => {
  const step = niceStep(high - low, 5);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) {
    svg.append(element("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(v), y2: y(v) }));
    svg.append(element("text", { x: MARGIN.left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(digits)));
  }
  // A time takes 70 pixels.
  const ticks = Math.max(2, Math.floor((width - MARGIN.left - MARGIN.right) / 70));
  const tick = [5, 10, 15, 30, 60, 120, 300].map((s) => s * 1000).find((s) => (now - start) / s <= Math.min(ticks, 8)) ?? 600_000;
  for (let t = Math.ceil(start / tick) * tick; t <= now; t += tick) {
    svg.append(element("line", { class: "grid", x1: x(t), x2: x(t), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    svg.append(element("text", { x: x(t), y: HEIGHT - 6, "text-anchor": "middle" }, clock(t)));
  }
};

/** Vertical lines at alerts, with their command above where there is room. */
const mark = (svg, alerts, { x, start }, width) => {
  let free = MARGIN.left;
  for (const { time, name, command } of alerts.filter((alert) => alert.time >= start)) {
    const at = x(time);
    svg.append(element("line", { class: "alert", x1: at, x2: at, y1: MARGIN.top - 4, y2: HEIGHT - MARGIN.bottom, "data-time": time, "data-from": name, "data-command": command }));
    const length = command.length * 7;
    if (at - length / 2 < free || at + length / 2 > width) continue;
    svg.append(element("text", { class: "alert", x: at, y: MARGIN.top - 8, "text-anchor": "middle" }, command));
    free = at + length / 2 + 8;
  }
};

/** The time of day in UTC. */
export const clock = (t) => new Date(t).toISOString().slice(11, 19);

/**
 * Draws `series` ([{name, colour, points: [[milliseconds, value]]}]) and `alerts` ([{time, name, command}]) for the last `spanMs`
 * before `now`. Gives a function from a horizontal position to the alert beside it.
 */
export const draw = (container, { series, alerts }, now, spanMs) => {
  if (series.length === 0) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "Nothing to draw: no chosen series has a point in this time.";
    container.replaceChildren(empty);
    return () => undefined;
  }
  const width = container.clientWidth || 800;
  const scale = scales(series, now, spanMs, width);
  const last = alerts.at(-1);
  const label = `temperature over time${last ? `; ${alerts.length} alerts, the last: ${last.command} at ${clock(last.time)} by ${last.name}` : ""}`;
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  grid(svg, scale, now, width);
  mark(svg, alerts, scale, width);
  for (const { name, colour, points } of series) {
    for (const part of segments(points)) {
      const d = part.map((p, i) => `${i ? "L" : "M"}${scale.x(p[0]).toFixed(1)} ${scale.y(p[1]).toFixed(1)}`).join("");
      // A part of one point is a dot: a zero-length line with round caps.
      svg.append(element("path", { d: part.length === 1 ? `${d}l0 0` : d, style: `stroke: ${colour}`, "stroke-linecap": "round", "data-series": name }));
    }
  }
  container.replaceChildren(svg);
  return (position) => {
    const distance = (alert) => Math.abs(scale.x(alert.time) - position);
    const nearest = alerts.toSorted((a, b) => distance(a) - distance(b))[0];
    return nearest && distance(nearest) <= REACH ? { ...nearest, x: scale.x(nearest.time) } : undefined;
  };
};
