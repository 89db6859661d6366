// Runs pure.py under the real MicroPython interpreter (compiled to wasm), one test per function.

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

import { loadMicroPython } from "@micropython/micropython-webassembly-pyscript/micropython.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const program = join(here, "..", "..", "device", "pico-w");

const lines = [];
const python = await loadMicroPython({ stdout: (line) => lines.push(line), linebuffer: true });

function copy(from, to) {
  python.FS.mkdir(to);
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    if (entry.isDirectory()) {
      if (entry.name !== "__pycache__") copy(join(from, entry.name), `${to}/${entry.name}`);
    } else if (entry.name.endsWith(".py")) {
      python.FS.writeFile(`${to}/${entry.name}`, readFileSync(join(from, entry.name)));
    }
  }
}

copy(program, "/program");
python.FS.writeFile("/program/pure.py", readFileSync(join(here, "pure.py")));
python.runPython("import sys; sys.path.insert(0, '/program'); import pure");
python.runPython("for name in sorted(dir(pure)):\n  if name.startswith('test_'): print(name)");

const names = lines.splice(0);
if (names.length === 0) throw new Error("pure.py has no tests");
for (const name of names) {
  test(name, () => python.runPython(`pure.${name}()`));
}
