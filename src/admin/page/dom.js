// Elements are made here, and whatever is shown goes into them as text: nothing that a client, an issuer or a
// configuration wrote becomes markup.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

// Controls and formats, and letters without a shape; not what breaks lines and indents.
const UNSEEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu;

/** A text as it is shown: what isn't seen, or turns the direction of what is, is written out as the log does (`\u{202e}`). */
export function plain(text) {
  return String(text).replace(UNSEEN, (mark) => `\\u{${mark.codePointAt(0).toString(16)}}`);
}

const isShown = (attribute) => attribute === "title" || attribute.startsWith("aria-");

/** Makes an element. Members of `attributes` that begin with `on` are listeners; content is nodes and texts. */
export function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : isShown(name) ? plain(value) : value);
  }
  const parts = content.flat().filter((part) => part !== null && part !== undefined && part !== false);
  made.append(...parts.map((part) => (part instanceof Node ? part : plain(part))));
  return made;
}

/** Sets a text, if it is another: what is selected or read aloud isn't disturbed for nothing. */
export function setText(node, text) {
  const written = plain(text);
  if (node.textContent !== written) node.textContent = written;
}

/** Sets a class, if it is another. */
export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

/** Shows or hides. */
export function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

/** A mark for a state: a word on a colour. Kinds: good, bad, warn, none. */
export function mark(kind = "none", word = "") {
  return element("span", { class: `mark ${kind}` }, word);
}

/** Changes a mark. */
export function setMark(node, kind, word) {
  setClass(node, `mark ${kind}`);
  setText(node, word);
}

/**
 * A list whose nodes follow items by their keys: those that stay are changed in place, so that focus, selection and what
 * was opened stay. Only so many are in the page; a button brings more.
 */
export class Listing {
  #parent;
  #key;
  #make;
  #step;
  #shown;
  #items = [];
  #nodes = new Map();
  #more;

  /** `make(item)` gives `{node, update}`; `update(item)` is called whenever there is news. `after`: where the button goes. */
  constructor(parent, { key, make, step = 50, what = "entries", after = parent }) {
    this.#parent = parent;
    this.#key = key;
    this.#make = make;
    this.#step = step;
    this.#shown = step;
    this.#more = element("button", { type: "button", class: "more", onclick: () => this.#showMore() });
    this.#more.dataset.what = what;
    this.#more.hidden = true;
    after.after(this.#more);
  }

  /** What there is. `fromTop`: these are other items than before, and the first ones are shown. */
  set(items, fromTop = false) {
    if (fromTop) this.#shown = this.#step;
    this.#items = items;
    this.#draw();
  }

  /** Tells those in the page that there is news beside them. */
  refresh() {
    for (const { update, item } of this.#nodes.values()) update?.(item);
  }

  #showMore() {
    const first = this.#shown;
    this.#shown += this.#step * 4;
    this.#draw();
    // The button may be gone: the keyboard goes on at what it brought.
    const target = this.#parent.children[first];
    const inside = target?.querySelector("a, button, summary, input");
    if (this.#more.hidden && target) {
      if (!inside) target.tabIndex = -1;
      (inside ?? target).focus();
    }
  }

  #draw() {
    const kept = new Map();
    const seen = new Map();
    let place = this.#parent.firstElementChild;
    for (const item of this.#items.slice(0, this.#shown)) {
      const name = this.#key(item);
      const times = (seen.get(name) ?? 0) + 1;
      seen.set(name, times);
      const key = `${times} ${name}`;
      const entry = this.#nodes.get(key) ?? this.#make(item);
      entry.item = item;
      entry.update?.(item);
      kept.set(key, entry);
      this.#nodes.delete(key);
      if (entry.node === place) place = place.nextElementSibling;
      else this.#parent.insertBefore(entry.node, place);
    }
    for (const { node } of this.#nodes.values()) node.remove();
    this.#nodes = kept;
    const hidden = this.#items.length - this.#shown;
    show(this.#more, hidden > 0);
    if (hidden > 0) {
      const next = Math.min(hidden, this.#step * 4);
      setText(this.#more, `Show ${next} more of ${hidden} ${this.#more.dataset.what}`);
    }
  }
}

let asked = null;

/** Asks before something is done. Resolves to whether it may be. */
export function confirmed(title, text, action) {
  const dialog = byId("confirm");
  setText(byId("confirm-title"), title);
  setText(byId("confirm-text"), text);
  setText(byId("confirm-yes"), action);
  if (!asked) {
    byId("confirm-yes").addEventListener("click", () => dialog.close("yes"));
    byId("confirm-no").addEventListener("click", () => dialog.close("no"));
    dialog.addEventListener("close", () => asked(dialog.returnValue === "yes"));
  }
  dialog.returnValue = "no";
  dialog.showModal();
  byId("confirm-no").focus();
  return new Promise((resolve) => (asked = resolve));
}
