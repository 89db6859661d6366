// Keeps what is on the page in step with data without making it anew: focus, selection and a finger on it stay.

/** An element with attributes and children; texts are children too. */
export const element = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
};

/** Sets a text only where it differs. */
export const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** Sets a data attribute only where it differs; `null` takes it away. */
export const setData = (node, name, value) => {
  if (value === null) delete node.dataset[name];
  else if (node.dataset[name] !== value) node.dataset[name] = value;
};

const nodes = new WeakMap();

/** One child of `parent` per item, in order: `make(item)` for a new key, `update(child, item)` for all, and the rest goes. */
export const keep = (parent, items, key, make, update) => {
  const known = nodes.get(parent) ?? new Map();
  const kept = new Map();
  items.forEach((item, index) => {
    const name = key(item);
    const child = known.get(name) ?? make(item);
    kept.set(name, child);
    update(child, item);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  while (parent.children.length > kept.size) parent.lastElementChild.remove();
  nodes.set(parent, kept);
};
