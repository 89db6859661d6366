// A reporter of `node --test`: what came of the cells of docs/compatibility.md, as lines of JSON.
//
// A test whose name ends with "[column: feature, …; column: feature]" covers these cells; see `covers` in hub.mjs.

export default async function* (source) {
  for await (const { type, data } of source) {
    const cells = type === "test:pass" || type === "test:fail" ? /\[([^\]]+)\]$/.exec(data.name) : null;
    if (!cells || data.skip !== undefined) continue;
    const failed = type === "test:fail" || data.todo !== undefined;
    for (const part of cells[1].split("; ")) {
      const [column, features] = part.split(": ");
      for (const feature of features.split(", ")) {
        const why = failed ? String(data.todo || data.name) : undefined;
        yield `${JSON.stringify({ column, feature, outcome: failed ? "failed" : "passed", why })}\n`;
      }
    }
  }
}
