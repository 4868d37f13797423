// The night: the last 24 hours of all jobs as one timeline, and the next three.

import { get, query } from "./api.js";
import { h, svg, put, setText, duration, stamp, hourOf, clockOf, dayOf, now, ms, titled, remembered, remember } from "./dom.js";
import { showTip, stateName } from "./strip.js";

const DAY = 86_400, HOUR = 3600, AHEAD = 3 * HOUR, SPAN = DAY + AHEAD, FRESH_MS = 60_000;
const ORDER = ["success", "unknown", "running", "matched", "stuck", "failed"];  // what is worse is drawn over it
const BAD = ["failed", "stuck", "matched"];
const SETTLED = ["down", "late"];

// The wide screen has room for the names of jobs; a phone for their beginnings.
const shapeOf = width => width < 600
  ? { left: 96, row: 18, bar: 10, least: 2, hours: 6, rows: 7, letters: 12 }
  : { left: 168, row: 21, bar: 13, least: 2.6, hours: 3, rows: 12, letters: 25 };

const hasTrouble = one => SETTLED.includes(one.state) || one.missed.length > 0 || BAD.some(state => one.runs[state]);

// Of many jobs those with something to see: the rest is one row, until one asks for them.
function fold(monitors, most) {
  if (monitors.length <= most + 1) return [monitors, []];
  const wanted = [...monitors.filter(hasTrouble), ...monitors.filter(one => !hasTrouble(one))].slice(0, most);
  return [monitors.filter(one => wanted.includes(one)), monitors.filter(one => !wanted.includes(one))];
}

// The bars of a job as one list, by time.
function itemsOf(one) {
  const items = Object.entries(one.runs).flatMap(([state, bars]) => bars.map(([at, length, run, count]) => ({ at, length, state, run, count })));
  for (const at of one.missed) items.push({ at, length: 0, state: "missed" });
  for (const at of one.expected) items.push({ at, length: 0, state: "expected" });
  return items.sort((a, b) => a.at - b.at);
}

// What the summary knows since the night was asked for: runs that ended or began meanwhile.
function bringUpToDate(night, monitors) {
  const since = ms(night.since), byId = new Map(monitors.map(m => [m.id, m]));
  for (const one of night.monitors) {
    const m = byId.get(one.id);
    if (!m) continue;
    one.state = m.state;
    const known = new Set(Object.entries(one.runs).flatMap(([state, bars]) => state === "running" ? [] : bars.map(bar => bar[2])));
    const newest = Math.max(0, ...known);
    delete one.runs.running;
    for (const [at, took, state, , run] of m.strip) {
      if (run === null || known.has(run) || (run < newest && state !== "running")) continue;
      const length = state === "running" ? now() - at : took || 0;
      (one.runs[state] ||= []).push([Math.floor((at - since) / 1000), Math.floor(length / 1000), run, 1]);
      one.expected = one.expected.filter(expected => expected * 1000 + since > at + 60_000 || expected * 1000 + since > now());
    }
  }
}

export function nightPart(app) {
  let night = null, loadedAt = 0, filter = {}, whole = false;
  let rows = [], items = [], shape = null, mark = null, cursor = null, at = null;  // what is drawn, and where the keyboard is
  const words = h("p.hidden", { role: "status" });
  const place = h("div.timeline", { tabindex: "0", role: "group", "aria-label": "Timeline of the last 24 hours. Arrow keys go from run to run, Enter opens one." });
  const more = h("button.plain.small", { hidden: true, onclick: () => { whole = !whole; draw(); } });
  const table = h("details.as-table", { ontoggle: () => table.open && fillTable() }, h("summary", "As a table"), h("div.scroll", { tabindex: "0", role: "region", "aria-label": "The last 24 hours as a table" }));
  const legend = h("div.legend", { "aria-hidden": "true" }, [["success", "well"], ["failed", "failed"], ["matched", "rule"], ["missed", "missed"], ["running", "running"], ["expected", "expected"], ["away", "away"]]
    .map(([state, name]) => h("span", h("i", { class: `is-${state}` }), name)));
  const node = h("details.card.night", { hidden: true, open: remembered("night") !== "folded", ontoggle: () => {
    remember("night", node.open ? "open" : "folded");
    if (node.open) draw();
  } }, h("summary", h("h2", "The night"), legend), place, h("div.under", more, table), words);

  async function load() {
    loadedAt = Date.now();
    try {
      night = await get(`/api/v1/night${query({ ...filter, limit: 200 })}`);
    } catch (error) {
      if (!error.sentence) throw error;
      return;
    }
    if (app.summary) bringUpToDate(night, app.summary.monitors);
    draw();
  }

  const seconds = when => (when - ms(night.since)) / 1000;
  const x = second => shape.left + Math.max(0, Math.min(SPAN, second - shape.from)) / SPAN * (shape.width - shape.left - 4);

  function rect(left, top, width, tall) {
    return `M${left.toFixed(1)} ${top}h${width.toFixed(1)}v${tall}h-${width.toFixed(1)}Z`;
  }

  function grid(top, tall) {
    const nodes = [], dark = [];
    let begin = null;
    for (let second = 0; second <= SPAN; second += HOUR / 4) {
      const when = Math.ceil((ms(night.since) / 1000 + shape.from) / 900) * 900_000 + second * 1000;
      const hour = hourOf(when), place = x(seconds(when));
      const isNight = hour >= 22 || hour < 6;
      if (isNight && begin === null) begin = place;
      if (!isNight && begin !== null) { dark.push(rect(begin, top, place - begin, tall)); begin = null; }
      if (!Number.isInteger(hour) || hour % shape.hours || place > shape.width - 4 || seconds(when) - shape.from > SPAN) continue;
      nodes.push(svg("line", { class: "grid", x1: place, x2: place, y1: top, y2: top + tall }));
      if (place > shape.left + 14 && place < shape.width - 18) nodes.push(svg("text", { class: hour === 0 ? "hour day" : "hour", x: place, y: 12, "text-anchor": "middle" }, hour === 0 && shape.hours === 3 ? dayOf(when) : clockOf(when)));
    }
    if (begin !== null) dark.push(rect(begin, top, shape.width - 4 - begin, tall));
    return [svg("path", { class: "dark", d: dark.join("") || "M0 0" }), nodes];
  }

  function draw() {
    if (!night || !node.open && !node.hidden) return;
    const [first, rest] = fold(night.monitors, whole ? 1e9 : shapeOf(place.clientWidth || 900).rows);
    node.hidden = !night.monitors.length;
    if (node.hidden) return;
    const width = place.clientWidth || 900;
    shape = { ...shapeOf(width), width, from: Math.max(0, seconds(now()) - DAY) };
    rows = rest.length ? [...first, { name: `${rest.length} more`, rest, state: "", runs: {}, missed: [], expected: [] }] : first;
    items = rows.map(one => one.rest ? one.rest.flatMap(itemsOf).filter(item => item.state === "success") : itemsOf(one));
    const top = 20, tall = rows.length * shape.row, paths = {};
    items.forEach((list, n) => {
      const y = top + n * shape.row + (shape.row - shape.bar) / 2;
      for (const item of list) {
        if (item.at + item.length < shape.from) continue;
        item.x = x(item.at);
        item.width = Math.max(shape.least, x(item.at + item.length) - item.x);
        if (item.state === "expected" && item.x - (list.dashed ?? -9) < 6) continue;  // no room: one stands for many
        if (item.state === "expected") list.dashed = item.x;
        const hollow = item.state === "missed" || item.state === "expected";
        const kind = rows[n].rest ? "rest" : item.state;
        paths[kind] = (paths[kind] || "") + (hollow ? rect(item.x + .7, y + .7, shape.least + 2.6, shape.bar - 1.4) : rect(item.x, y, item.width, shape.bar));
      }
    });
    mark = svg("g.now", svg("line", { y1: top - 4, y2: top + tall }), svg("text", { y: top + tall + 13, "text-anchor": "middle" }));
    cursor = svg("rect.cursor", { height: shape.row - 2, rx: 3 });
    put(place, svg("svg", { viewBox: `0 0 ${width} ${top + tall + 18}`, width, height: top + tall + 18, "aria-hidden": "true" },
      svg("defs", svg("pattern", { id: "hatch", width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("path", { d: "M0 0v6", class: "hatch" }))),
      grid(top, tall),
      night.absences.filter(([gone, back]) => back - gone > 60).map(([gone, back]) => svg("rect", { fill: "url(#hatch)", class: "away", x: x(gone), y: top, width: Math.max(3, x(back) - x(gone)), height: tall })),
      rows.map((one, n) => [svg("line", { class: "lane", x1: 0, x2: width, y1: top + (n + 1) * shape.row - .5, y2: top + (n + 1) * shape.row - .5 }),
        svg("text", { class: `name is-${one.state || "rest"}`, x: 0, y: top + (n + 1) * shape.row - shape.row / 2 + 4, "data-n": n },
          one.name.length > shape.letters ? `${one.name.slice(0, shape.letters - 1)}…` : one.name)]),
      ["rest", ...ORDER, "missed", "expected"].map(state => paths[state] && svg("path", { class: `bar is-${state}`, d: paths[state] })),
      cursor, mark));
    at = null;
    moveMark();
    more.hidden = !rest.length && !whole;
    setText(more, whole ? "Show fewer" : `Show all ${night.monitors.length}`);
    if (table.open) fillTable();
  }

  function moveMark() {
    const second = seconds(now()), place = x(second);
    mark.setAttribute("transform", `translate(${place.toFixed(1)} 0)`);
    setText(mark.lastChild, `now ${clockOf(now())}`);
    mark.lastChild.setAttribute("x", Math.min(0, shape.width - 34 - place));
  }

  function wordsOf(item) {
    const when = ms(night.since) + item.at * 1000;
    if (item.state === "expected") return `expected ${stamp(when)}`;
    if (item.state === "missed") return `missed ${stamp(when)}`;
    const took = item.length && item.count === 1 ? ` · ${item.state === "running" ? "for" : "took"} ${duration(item.length * 1000)}` : "";
    return item.count > 1 ? `${item.count} runs that went well · ${stamp(when)} to ${clockOf(when + item.length * 1000)}` : `${titled(stateName(item.state))} · ${stamp(when)}${took}`;
  }

  function itemAt(event) {
    const box = place.firstChild?.getBoundingClientRect();
    if (!box || !shape) return [];
    const n = Math.floor((event.clientY - box.top - 20) / shape.row), across = event.clientX - box.left;
    if (!rows[n] || across < shape.left - 4) return [rows[n]];
    let best = null, away = 9;
    for (const item of items[n]) {
      if (item.x === undefined) continue;
      const off = across < item.x ? item.x - across : Math.max(0, across - item.x - item.width);
      if (off <= away) { best = item; away = off; }
    }
    return [rows[n], best, box.top + 20 + n * shape.row, n];
  }

  function show(one, item, left, top) {
    if (!item) return showTip("");
    showTip(wordsOf(item), left, top, one.rest ? "" : one.name);
  }

  const open = (one, item) => {
    if (one.rest) { whole = true; return draw(); }
    app.go(`#/monitors/${one.id}${item?.run ? `/runs/${item.run}` : ""}`);
  };

  let named = null;  // by a tap
  place.addEventListener("pointermove", event => {
    const [one, item, top] = itemAt(event);
    place.classList.toggle("on", Boolean(one && (item || event.clientX)));
    show(one, item, event.clientX, top);
  });
  place.addEventListener("pointerleave", () => showTip(""));
  place.addEventListener("click", event => {
    const [one, item, top] = itemAt(event);
    if (!one) return showTip("");
    if (event.pointerType === "touch" && item && named !== item) {  // the first tap names it
      named = item;
      return show(one, item, event.clientX, top);
    }
    if (item || event.target.dataset.n !== undefined || one.rest) open(one, item);
  });

  // By keyboard: a cursor in the grid of rows and runs.
  function move(row, by) {
    const n = Math.max(0, Math.min(rows.length - 1, (at ? at.n : 0) + row));
    const list = items[n].filter(item => item.x !== undefined);
    let k = list.findLastIndex(item => item.state !== "expected");  // begins with the newest run
    if (at && row) {  // the nearest in time
      const before = items[at.n].filter(item => item.x !== undefined)[at.k]?.x ?? 0;
      k = list.reduce((best, item, m) => Math.abs(item.x - before) < Math.abs((list[best]?.x ?? 1e9) - before) ? m : best, 0);
    } else if (at) k = Math.max(0, Math.min(list.length - 1, at.k + by));
    at = { n, k, item: list[k] };
    const item = at.item;
    if (!item) return setText(words, `${rows[n].name}: nothing in these hours`);
    for (const [name, value] of Object.entries({ x: item.x - 3, y: 21 + n * shape.row, width: item.width + 6 })) cursor.setAttribute(name, value);
    const box = place.firstChild.getBoundingClientRect();
    show(rows[n], item, box.left + item.x, box.top + 20 + n * shape.row);
    setText(words, `${rows[n].name}: ${wordsOf(item)}`);
  }

  const KEYS = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
  place.addEventListener("keydown", event => {
    if (event.key === "Enter" && at) open(rows[at.n], at.item);
    else if (KEYS[event.key]) move(...KEYS[event.key]);
    else if (event.key === "Escape") { at = null; showTip(""); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  place.addEventListener("blur", () => { showTip(""); at = null; cursor?.setAttribute("width", 0); });

  function fillTable() {
    const count = (one, ...states) => states.reduce((sum, state) => sum + (one.runs[state] || []).reduce((all, bar) => all + bar[3], 0), 0);
    put(table.lastChild, h("table", h("thead", h("tr", ["Monitor", "State", "Went well", "Failed", "Matched a rule", "Missed", "Expected next"].map(head => h("th", { scope: "col" }, head)))),
      h("tbody", night.monitors.map(one => h("tr", h("th", { scope: "row" }, h("a", { href: `#/monitors/${one.id}` }, one.name)), h("td", titled(one.state)),
        [count(one, "success"), count(one, "failed", "stuck"), count(one, "matched"), one.missed.length].map(number => h("td", String(number || "–"))),
        h("td", one.expected.length ? stamp(ms(night.since) + one.expected.find(second => second > seconds(now())) * 1000 || now()) : "–"))))));
  }

  const watch = new ResizeObserver(() => { if (shape && node.open && shape.width !== place.clientWidth) draw(); });
  watch.observe(place);

  return { node,
    // The summary is newer: take over what it knows; ask for the whole night once a minute.
    async onSummary(summary, wanted) {
      if (JSON.stringify(wanted) !== JSON.stringify(filter) || !night || Date.now() - loadedAt > FRESH_MS || summary.total !== night.total) {
        filter = wanted;
        return load();
      }
      bringUpToDate(night, summary.monitors);
      if (at === null) draw();
      return null;
    },
    onTick() {
      if (!night || !node.open || !mark) return;
      if (Date.now() - loadedAt > FRESH_MS) load();
      else moveMark();
    },
    close() { watch.disconnect(); showTip(""); } };
}
