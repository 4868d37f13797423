// Elements, dialogs and times. Whatever a ping, a name or a log says goes through `h` and is text.

const SVG = "http://www.w3.org/2000/svg";
const MINUTE = 60_000, HOUR = 60 * MINUTE, DAY = 24 * HOUR;

function fill(node, attrs, children) {
  for (const [name, value] of Object.entries(attrs)) {
    if (!has(value) || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name === "value" || name === "indeterminate") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  add(node, ...children);
  return node;
}

export function add(node, ...children) {
  for (const child of children.flat(4)) {
    if (has(child) && child !== false && child !== "") node.append(child);
  }
  return node;
}

// An element, from `tag.class.class`, attributes where they are given, and children. `on…` attributes
// are listeners; null and false leave an attribute or a child out.
const maker = create => (name, ...rest) => {
  const [tag, ...classes] = name.split(".");
  const attrs = rest[0] && Object.getPrototypeOf(rest[0]) === Object.prototype ? rest.shift() : {};
  const node = create(tag);
  if (tag === "button") node.type = "button";
  fill(node, attrs, rest);
  if (classes.length) node.classList.add(...classes);
  return node;
};

export const h = maker(tag => document.createElement(tag));
export const svg = maker(tag => document.createElementNS(SVG, tag));

// "1 monitor", "3 monitors"
export const counted = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

const named = node => node.getAttribute("href") || node.textContent;

// New children. The focus stays on what is still there, so that a live page can be used by keyboard.
export function put(node, ...children) {
  const held = node.contains(document.activeElement) && named(document.activeElement);
  node.textContent = "";
  add(node, ...children);
  if (held) [...node.querySelectorAll("h1, a, button, summary")].find(one => named(one) === held)?.focus({ preventScroll: true });
  return node;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// -- Time

let skew = 0;  // how far the server's clock is ahead of ours, where that can be seen

export const now = () => Date.now() + skew;
export const ms = when => typeof when === "string" ? Date.parse(when) : when;

export function heardClock(date) {
  const off = Date.parse(date) + 500 - Date.now();
  if (Number.isFinite(off)) skew = Math.abs(off) > 3000 ? off : 0;
}

// "340 ms", "4.2 s", "3 min 20 s", "1 h 4 min", "2 d 3 h"
export function duration(length) {
  if (!has(length)) return "–";
  if (length < 1000) return `${Math.round(length)} ms`;
  if (length < 9950) return `${(length / 1000).toFixed(1).replace(".0", "")} s`;
  const seconds = Math.round(length / 1000);
  const two = (unit, big, small, per) => {
    const rest = Math.floor(seconds % unit / per);
    return `${Math.floor(seconds / unit)} ${big}${rest ? ` ${rest} ${small}` : ""}`;
  };
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return two(60, "min", "s", 1);
  return seconds < 86400 ? two(3600, "h", "min", 60) : two(86400, "d", "h", 3600);
}

// "328 kB", "4.1 MB"
export const bytes = count => count < 1e6 ? `${Math.round(count / 1e3)} kB` :
  count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(1)} GB`;

// One unit, as a person says it: "12 s", "3 h", "5 days"
export function about(length) {
  if (length < MINUTE) return `${Math.floor(length / 1000)} s`;
  if (length < HOUR) return `${Math.floor(length / MINUTE)} min`;
  if (length < 2 * DAY) return `${Math.floor(length / HOUR)} h`;
  return `${Math.floor(length / DAY)} days`;
}

export function relative(when) {
  const away = now() - when;
  if (Math.abs(away) < 1000) return "now";
  return away > 0 ? `${about(away)} ago` : `in ${about(-away)}`;
}

// What this browser remembers of how somebody likes the page.
export function remembered(name) {
  try { return localStorage.getItem(name); } catch { return null; }  // storage is switched off
}

export function remember(name, value) {
  try { localStorage.setItem(name, value); } catch { /* holds until the page is left */ }
}

let zoned = remembered("zone");

export const usesMonitorZone = () => zoned === "monitor";

export function setMonitorZone(yes) {
  zoned = yes ? "monitor" : "mine";
  remember("zone", zoned);
}

const formats = new Map();

// What a clock in a zone shows, in parts: year, month, day, weekday, hour, minute, second.
function parts(when, zone) {
  if (!formats.has(zone)) {
    const options = { year: "numeric", month: "short", day: "numeric", weekday: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
    try {
      formats.set(zone, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: zone || undefined }));
    } catch {  // a zone that this browser does not know
      formats.set(zone, new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }));
    }
  }
  return Object.fromEntries(formats.get(zone).formatToParts(when).map(({ type, value }) => [type, value]));
}

const MONTHS = { Sept: "Sep" };
const shownZone = zone => usesMonitorZone() ? zone || "" : "";
const dated = ({ weekday, day, month }) => `${weekday} ${day} ${MONTHS[month] || month}`;

// "03:00", "Sat 28 Nov", and the hour as a number, in the viewer's zone
export const clockOf = when => { const { hour, minute } = parts(when, ""); return `${hour}:${minute}`; };
export const dayOf = when => dated(parts(when, ""));
export const hourOf = when => { const { hour, minute } = parts(when, ""); return Number(hour) + Number(minute) / 60; };

// "Today", "Yesterday", "Tomorrow", "Thu 26 Nov", and the year where it is another one
export function dayWord(when, zone = "") {
  const at = shownZone(zone), there = parts(when, at), today = parts(now(), at);
  const day = dated(there);
  if (day === dated(today) && there.year === today.year) return "Today";
  if (Math.abs(when - now()) < 3 * DAY) {
    if (day === dated(parts(now() - DAY, at))) return "Yesterday";
    if (day === dated(parts(now() + DAY, at))) return "Tomorrow";
  }
  return there.year === today.year ? day : `${day} ${there.year}`;
}

// "Today 03:00"; whole: "Thu 26 Nov 2026 03:00:04"; in the viewer's zone or the monitor's.
export function stamp(when, zone, whole = false) {
  const there = parts(when, shownZone(zone));
  return whole ? `${dated(there)} ${there.year} ${there.hour}:${there.minute}:${there.second}` : `${dayWord(when, zone)} ${there.hour}:${there.minute}`;
}

// The same in one zone, whatever is preferred.
export function stampIn(when, zone) {
  const { hour, minute, second } = parts(when, zone);
  return `${dated(parts(when, zone))} ${hour}:${minute}${second === "00" ? "" : `:${second}`}`;
}

// The same in a sentence: "03:00", "yesterday 03:00"
const inline = (when, zone) => stamp(when, zone).replace(/^Today /, "").replace(/^(Yesterday|Tomorrow)/, word => word.toLowerCase());

export function zoneName(zone) {
  return usesMonitorZone() && zone ? zone : Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
}

const WORDS = {
  ago: relative,
  due: when => when > now() ? `in ${about(when - now())}` : `${about(now() - when)} late`,
  alert: when => when > now() ? `alert in ${about(when - now())}` : "alert now",
  since: when => `for ${about(Math.max(0, now() - when))}`,
  span: when => about(Math.max(0, now() - when)),
  clock: (when, zone) => stamp(when, zone),
  inline,
  hour: (when, zone) => stamp(when, zone).slice(-5),
  "whole-clock": (when, zone) => stamp(when, zone, true),
  elapsed: when => duration(Math.max(0, Math.floor((now() - when) / 1000) * 1000)),
};

// A time that stays true by itself: what was today is yesterday after midnight. Its tooltip, the
// instant or how far it is away, is made when it is wanted.
document.addEventListener("pointerover", ({ target }) => {
  const { live } = target.dataset || {};
  if (live) target.title = live.endsWith("clock") || live === "inline" ? `${stamp(target.at, target.zone, true)} · ${relative(target.at)}` : stamp(target.at, target.zone, true);
});

export function time(when, words = "ago", zone = "") {
  const at = ms(when);
  const node = h("time", { datetime: new Date(at).toISOString(), "data-live": words });
  Object.assign(node, { at, zone });
  node.textContent = WORDS[words](at, zone);
  return node;
}

export function tickTimes(root = document) {
  for (const node of root.querySelectorAll("time[data-live]")) setText(node, WORDS[node.dataset.live](node.at, node.zone));
}

export const clock = (when, zone, whole) => time(when, whole ? "whole-clock" : "clock", zone);
export const at = (when, zone) => time(when, "inline", zone);

// -- What pages share

const SHAPES = {  // each status has a shape of its own: colour alone tells some people nothing
  up: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm-1 9.8L3.9 7.7l1.2-1.2L7 8.4l3.9-3.9 1.2 1.2Z",
  down: "M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1Zm.7 3.6L4.6 5.8 6.8 8l-2.2 2.2 1.2 1.2L8 9.2l2.2 2.2 1.2-1.2L9.2 8l2.2-2.2-1.2-1.2L8 6.8Z",
  late: "M8 1l7.5 13.5H.5Zm-.9 4.7v4.6h1.8V5.7Zm0 5.6V13h1.8v-1.7Z",
  running: "M8 1a7 7 0 1 0 7 7h-2.2A4.8 4.8 0 1 1 8 3.2Z",
  new: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.9a5.1 5.1 0 1 1 0 10.2A5.1 5.1 0 0 1 8 2.9Z",
  paused: "M3 2h3.6v12H3Zm6.4 0H13v12H9.4Z",
  unknown: "M8 1l7 7-7 7-7-7Z",
  missed: "M5.1 1h5.8L15 5.1v5.8L10.9 15H5.1L1 10.9V5.1Zm.8 1.9L2.9 5.9v4.2l3 3h4.2l3-3V5.9l-3-3Z",
};
Object.assign(SHAPES, { success: SHAPES.up, failed: SHAPES.down, stuck: SHAPES.down, matched: SHAPES.late });

export const shape = status => svg("svg", { class: `shape is-${status}`, viewBox: "0 0 16 16", "aria-hidden": "true" },
  svg("path", { d: SHAPES[status] || SHAPES.unknown, "fill-rule": "evenodd" }));

const TITLES = { success: "Went well", matched: "Rule" };
export const titled = status => TITLES[status] || status[0].toUpperCase() + status.slice(1);

export const badge = (status, words) => h("span", { class: `badge is-${status}` }, shape(status), words || titled(status));

// What became of an alert: its shape, and a word for it.
export const fate = ({ state, tries }) => ({ sent: ["up", "told"], dead: ["down", "undelivered"] })[state] || ["late", tries ? "will be tried again" : "on its way"];

export const tagList = (tags, onTag) => tags.map(tag => onTag
  ? h("button.tag", { "aria-label": `Show only the tag ${tag}`, onclick: () => onTag(tag) }, tag)
  : h("span.tag", tag));

export async function copy(text, from) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no clipboard without https
    getSelection().selectAllChildren(from);
    done = document.execCommand("copy");
  }
  say(done ? "Copied" : "It is selected: copy it with Ctrl+C", !done);
}

export function copyable(text, label = "Copy") {
  const code = h("code", text);
  return h("div.copyable", h("pre", { tabindex: "0", "aria-label": "Line to copy" }, code),
    h("button.small", { onclick: () => copy(text, code) }, label));
}

let quiet;

// A short word at the bottom of the page, which is also read out.
export function say(text, bad = false) {
  const toast = document.getElementById("toast");
  toast.textContent = text;
  toast.className = bad ? "shown bad" : "shown";
  clearTimeout(quiet);
  quiet = setTimeout(() => { toast.className = ""; toast.textContent = ""; }, bad ? 8000 : 3000);
}

// A refusal of the API is said; what else goes wrong is a mistake of ours.
export function complain(error) {
  if (!error.sentence) throw error;
  say(error.sentence, true);
}

export const button = (label, onclick, attrs) => h("button", { onclick, ...attrs }, label);

export const card = (title, ...children) => h("section.card", h("h2", title), children);

export const closer = () => h("button.plain", { "aria-label": "Close", onclick: event => event.target.closest("dialog").close() }, "×");

export const bar = percent => h("progress", { max: "100", value: percent, "aria-label": "Progress" });
export const has = value => value !== null && value !== undefined;

// A dialog that leaves the page when it closes; the promise holds what it was closed with.
export function ask(title, build, attrs = {}) {
  return new Promise(resolve => {
    const before = document.activeElement;
    const close = answer => { resolve(answer); box.close(); };
    const box = h("dialog", { "aria-label": title, ...attrs, onclose: () => {
      box.remove();
      if (before?.isConnected) before.focus();
      resolve(null);
    } });
    add(box, h("div.dialog-head", h("h2", title),
      closer()),
    build(close));
    document.body.append(box);
    box.showModal();
  });
}

export const confirm = (title, text, yes, bad = false) => ask(title, close => [h("p", text),
  h("div.buttons", button(yes, () => close(true), { class: bad ? "bad" : "primary" }), button("Cancel", () => close(null)))]);

export const askPause = title => ask(title, close => h("div.buttons", [["For 1 hour", { hours: 1 }], ["For 8 hours", { hours: 8 }],
  ["For 1 day", { hours: 24 }], ["Until resumed", {}]].map(([words, body]) => button(words, () => close(body)))));

// -- Forms

let unique = 0;

// A label, its input, a hint, and the place of the error that names it.
export function field(label, input, hint) {
  const id = `f${++unique}`, where = input.matches("input,select,textarea") ? input : input.querySelector("input,select,textarea");
  where.id = id;
  if (hint) where.setAttribute("aria-describedby", `${id}-hint`);
  return h("div.field", h("label", { for: id }, label), input,
    hint && h("p.hint", { id: `${id}-hint` }, hint));
}

export const entry = (name, attrs) => h("input", { "data-name": name, autocomplete: "off", ...attrs });

export function choose(options, value, attrs) {
  const select = h("select", attrs, options.map(([name, words]) => h("option", { value: name }, words)));
  select.value = value;
  return select;
}

export function check(label, checked, attrs) {
  const input = h("input", { type: "checkbox", ...attrs });
  input.checked = checked;
  return h("label.check", input, h("span", label));
}

// The API's own sentence, beside the field that it names, else at the end of the form.
export function showError(form, sentence) {
  clearErrors(form);
  const named = [...form.querySelectorAll("[data-name]")].find(node =>
    new RegExp(`(^|[^A-Za-z])${node.dataset.name}([^A-Za-z]|$)`).test(sentence));
  const note = h("p.error", { id: `e${++unique}`, role: "alert" }, sentence);
  if (!named) {
    form.querySelector(".form-error").append(note);
    return;
  }
  const input = named.matches("input,select,textarea") ? named : named.querySelector("input,select,textarea") || named;
  for (let box = named.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  (named.closest(".field") || named).append(note);
  input.setAttribute("aria-invalid", "true");
  input.dataset.described = input.getAttribute("aria-describedby") || "";
  input.setAttribute("aria-describedby", `${input.dataset.described} ${note.id}`.trim());
  input.focus();
}

export function clearErrors(form) {
  for (const note of form.querySelectorAll(".error")) note.remove();
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    if (input.dataset.described) input.setAttribute("aria-describedby", input.dataset.described);
    else input.removeAttribute("aria-describedby");
  }
}

export const submit = (words, kind = "primary") => h("button", { type: "submit", class: kind }, words);

// A form whose `send` may throw the API's refusal; the button rests while it is on its way.
export function formOf(send, ...children) {
  const form = h("form", { novalidate: true }, children);
  const button = form.querySelector("[type=submit]");
  (button.closest(".buttons") || button).before(h("div.form-error"));
  form.addEventListener("submit", async event => {
    event.preventDefault();
    if (button.disabled) return;
    button.disabled = true;
    clearErrors(form);
    try {
      await send(form);
    } catch (error) {
      if (!error.sentence) throw error;
      showError(form, error.sentence);
    } finally {
      button.disabled = false;
    }
  });
  return form;
}
