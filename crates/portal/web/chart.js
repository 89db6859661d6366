// A line chart of several series over time, drawn as SVG. Gaps in the data stay gaps in the line.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 48, right: 12, top: 10, bottom: 24 };
// Colours that stay apart for the colour-blind (Okabe and Ito).
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

export const colour = (index) => COLOURS[index % COLOURS.length];

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

/** Splits points [time, value] wherever the distance is more than three times the median one. */
export const segments = (points) => {
  const steps = points.slice(1).map((p, i) => p[0] - points[i][0]).sort((a, b) => a - b);
  const limit = 3 * (steps[steps.length >> 1] ?? Infinity);
  const out = [];
  points.forEach((point, i) => {
    if (i === 0 || point[0] - points[i - 1][0] > limit) out.push([]);
    out.at(-1).push(point);
  });
  return out;
};

/** Draws `series` (Map of name to array of [milliseconds, value]) for the last `spanMs` before `now`. */
export const draw = (container, series, now, spanMs) => {
  const width = container.clientWidth || 800;
  const height = 320;
  const shown = [...series].map(([name, points]) => [name, points.filter((p) => p[0] >= now - spanMs)]);
  const values = shown.flatMap(([, points]) => points.map((p) => p[1]));
  if (values.length === 0) return;
  const times = shown.flatMap(([, points]) => points.map((p) => p[0]));
  const start = Math.max(now - spanMs, Math.min(now - 15_000, ...times));
  let low = Math.min(...values);
  let high = Math.max(...values);
  const pad = Math.max((high - low) * 0.1, 0.5);
  [low, high] = [low - pad, high + pad];
  const x = (t) => MARGIN.left + ((t - start) / (now - start)) * (width - MARGIN.left - MARGIN.right);
  const y = (v) => height - MARGIN.bottom - ((v - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);

  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "temperature over time" });
  const step = niceStep(high - low, 5);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) {
    svg.append(element("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(v), y2: y(v) }));
    svg.append(element("text", { x: MARGIN.left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(digits)));
  }
  const tick = [5, 10, 15, 30, 60, 120, 300].map((s) => s * 1000).find((s) => (now - start) / s <= 8) ?? 600_000;
  for (let t = Math.ceil(start / tick) * tick; t <= now; t += tick) {
    svg.append(element("line", { class: "grid", x1: x(t), x2: x(t), y1: MARGIN.top, y2: height - MARGIN.bottom }));
    svg.append(element("text", { x: x(t), y: height - 6, "text-anchor": "middle" }, new Date(t).toISOString().slice(11, 19)));
  }
  shown.forEach(([name, points], index) => {
    for (const part of segments(points)) {
      const d = part.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join("");
      // A part of one point is a dot: a zero-length line with round caps.
      svg.append(element("path", { d: part.length === 1 ? `${d}l0 0` : d, stroke: colour(index), "stroke-linecap": "round", "data-series": name }));
    }
  });
  container.replaceChildren(svg);
};
