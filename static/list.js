// The list: every monitor with its last runs, kept up to date in place.

import { patch, post, del, monitorPath, query } from "./api.js";
import { h, svg, put, setText, ask, askPause, badge, shape, tagList, time, clock, stamp, duration, now, ms, say, choose, formOf, field, confirm, bar, has, submit, titled } from "./dom.js";

const STATES = [["down", "Down"], ["late", "Late"], ["running", "Running"], ["up", "Up"], ["new", "New"], ["paused", "Paused"]];
const MOST = 1000;

const isLate = m => m.status === "up" && m.expectedAt !== null && ms(m.expectedAt) < now();

export function stateOf(m) {
  if (m.status === "up") return isLate(m) ? "late" : m.running ? "running" : "up";
  return m.status;
}

const matches = (m, { q, tag, status }) =>
  (!status || (status === "running" ? m.running : stateOf(m) === status || (status === "up" && stateOf(m) === "running")))
  && (!tag || m.tags.includes(tag))
  && (!q || `${m.name}\n${m.key}\n${m.tags.join(" ")}`.toLowerCase().includes(q.toLowerCase()));

// -- The strip of runs: a path for each outcome, however many runs there are

const STEP = 5, BAR = 3.4, TALL = 20;

export function strip(m) {
  const { runs } = m;
  if (!runs.length) return h("span.soft", "no runs yet");
  const longest = Math.max(1, ...runs.map(run => run[1] || 0));
  const paths = {};
  runs.forEach(([, took, state], n) => {
    const x = (30 - runs.length + n) * STEP, tall = took === null ? TALL / 2 : 2 + (TALL - 2) * took / longest;
    const bad = state === "failed" || state === "stuck" ? `M${x} ${TALL + 2}h${BAR}v2h-${BAR}Z` : "";  // not by colour alone
    paths[state] = `${paths[state] || ""}M${x} ${TALL}v-${tall.toFixed(1)}h${BAR}v${tall.toFixed(1)}Z${bad}`;
  });
  const counted = Object.keys(paths).map(state => `${runs.filter(run => run[2] === state).length} ${titled(state).toLowerCase()}`);
  return svg("svg.strip", { viewBox: "0 0 150 24", role: "img",
    "aria-label": runs.length > 1 ? `Last ${runs.length} runs: ${counted.join(", ")}` : `One run: ${counted[0].slice(2)}` },
  Object.entries(paths).map(([state, d]) => svg("path", { d, class: `is-${state}` })));
}

export function runWords([at, took, state, code], zone) {
  return [`${titled(state)}${code ? `, exit code ${code}` : ""}`, stamp(at, zone, true),
    took === null ? "" : `took ${duration(took)}`].filter(Boolean).join(" · ");
}

export function showTip(text, x, y) {
  const tip = document.getElementById("tip");
  tip.hidden = !text;
  if (!text) return;
  setText(tip, text);
  tip.style.left = `${Math.max(4, Math.min(x - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y - tip.offsetHeight - 8}px`;
}

// -- A row: its parts are made anew only where what they show has changed

function due(m) {
  if (m.status === "paused") return m.pausedUntil ? ["paused until ", clock(m.pausedUntil, m.timezone)] : "paused until resumed";
  if (m.status === "down") return m.expectedAt && ms(m.expectedAt) > now() ? time(m.expectedAt, "due", m.timezone) : "";
  if (!m.expectedAt) return m.scheduleType === "none" ? "no schedule" : "";
  return isLate(m) ? time(m.alertAt, "alert", m.timezone) : time(m.expectedAt, "due", m.timezone);
}

const exitCode = m => m.downReason === "failed" && m.runs.findLast(run => run[2] === "failed")?.[3];

function why(m) {
  if (m.status === "down") return [m.downReason === "stuck" ? "stuck: it did not end" : m.downReason, exitCode(m) && ` with exit code ${exitCode(m)}`, m.downSince && [", down ", time(m.downSince, "since", m.timezone)]];
  return !m.heard && h("span.warn-text", "nobody is told");
}

function took(m) {
  if (m.lastDurationMs === null) return "";
  const slow = m.usualDurationMs && m.lastDurationMs > 2 * m.usualDurationMs && m.lastDurationMs > 1000;
  return [h("span", { class: slow ? "warn-text" : "" }, duration(m.lastDurationMs)),
    m.usualDurationMs !== null && h("span.soft", `usually ${duration(m.usualDurationMs)}`)];
}

export function progressLine(run, zone) {
  if (!run) return "";
  return [shape("running"), time(run.startedAt, "elapsed", zone),
    has(run.percent) && [bar(run.percent), h("span", `${run.percent} %`)],
    run.message && h("span.message", run.message)];
}

const PARTS = {
  state: [m => stateOf(m), m => badge(stateOf(m))],
  why: [m => [m.status, m.downReason, m.downSince, m.heard, exitCode(m)], why],
  runs: [m => m.runs, strip],
  last: [m => m.lastPingAt, m => m.lastPingAt ? time(m.lastPingAt, "last", m.timezone) : "never pinged"],
  due: [m => [m.status, m.pausedUntil, m.expectedAt, m.alertAt, isLate(m)], due],
  took: [m => [m.lastDurationMs, m.usualDurationMs], took],
  live: [m => m.run, m => progressLine(m.run, m.timezone)],
};

function makeRow(onPick, onTag) {
  const box = h("input", { type: "checkbox", onchange: () => onPick() });
  const link = h("a.name");
  const tags = h("span.tags");
  const parts = Object.fromEntries(Object.keys(PARTS).map(name => [name, h("div", { class: name })]));
  const li = h("li.row", h("label.pick", box), parts.state,
    h("div.what", h("div.title", link, tags), parts.why),
    parts.runs, h("div.when", parts.last, parts.due), parts.took, parts.live);
  const seen = {};
  const row = { li, box, link, m: null, show(m) {
    row.m = m;
    if (seen.name !== m.name) {
      seen.name = link.textContent = m.name;
      box.setAttribute("aria-label", `Select ${m.name}`);
      link.setAttribute("href", `#/monitors/${m.id}`);
    }
    const tagged = m.tags.join(" ");
    if (seen.tags !== tagged) put(tags, tagList(m.tags, onTag));
    seen.tags = tagged;
    for (const [name, [key, make]] of Object.entries(PARTS)) {
      const value = JSON.stringify(key(m));
      if (seen[name] === value) continue;
      seen[name] = value;
      put(parts[name], make(m));
      if (name === "state") li.className = `row is-${row.state = stateOf(m)}${box.checked ? " picked" : ""}`;
    }
  } };
  return row;
}

// -- The page

export function listPage(app, words) {
  const filter = { q: words.get("q") || "", tag: words.get("tag") || "", status: words.get("status") || "" };
  const rows = new Map();
  let shown = [], welcome = null;

  const search = h("input", { type: "search", placeholder: "Search  /", "aria-label": "Search monitors", value: filter.q, oninput: () => narrow({ q: search.value }) });
  const chips = h("div.chips", { role: "group", "aria-label": "Show only" });
  const tags = choose([["", "All tags"]], "", { "aria-label": "Tag", onchange: () => narrow({ tag: tags.value }) });
  const all = h("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => {
    for (const row of shown) row.box.checked = all.checked;
    picked();
  } });
  const list = h("ul.rows", { "aria-label": "Monitors" });
  const note = h("p.soft.note", { role: "status" });
  const bulk = h("div.bulk", { hidden: true });
  const tools = h("div.tools", h("label.pick", all), search, tags, chips);
  const page = h("div", h("div.head", h("h1", "Monitors"),
    h("a.button.primary", { href: "#/new" }, "New monitor")), tools, list, note, bulk);
  const node = h("div", page);

  function narrow(change) {
    Object.assign(filter, change);
    history.replaceState(null, "", `#/${query(filter)}`);
    if (app.summary) paint();
    if (isBig()) app.refresh();
  }

  // More monitors than an answer holds: then the server looks for them.
  const isBig = () => app.summary && (app.summary.total > MOST || big);
  let big = false;

  function paintChips(counts) {
    const total = counts.new + counts.up + counts.down + counts.paused;
    const names = [["", "All", total], ...STATES.map(([name, label]) => [name, label, counts[name]])];
    const state = JSON.stringify([names, filter.status]);
    if (chips.state === state) return;
    chips.state = state;
    const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.status : null;
    put(chips, names.filter(([name,, count]) => count || !name || name === filter.status).map(([name, label, count]) =>
      h("button", { class: `chip is-${name || "all"}`, "data-status": name, "aria-pressed": String(filter.status === name),
        onclick: () => narrow({ status: filter.status === name ? "" : name }) },
      name && shape(name), label, " ", h("b", String(count)))));
    if (focused !== null) chips.querySelector(`[data-status="${focused}"]`)?.focus();
  }

  function paintTags(known) {
    const wanted = filter.tag && !known.includes(filter.tag) ? [...known, filter.tag] : known;
    tags.hidden = !wanted.length;
    const state = JSON.stringify(wanted);
    if (tags.state !== state) {
      tags.state = state;
      put(tags, [["", "All tags"], ...wanted.map(tag => [tag, tag])].map(([value, text]) => h("option", { value }, text)));
    }
    tags.value = filter.tag;
  }

  function paint() {
    const { summary } = app;
    big = big || summary.total > MOST;
    paintChips(summary.counts);
    paintTags(summary.tags);
    const wanted = summary.monitors.filter(m => matches(m, filter));
    const held = list.contains(document.activeElement) ? document.activeElement : null;
    let place = list.firstElementChild;
    shown = wanted.map(m => {
      if (!rows.has(m.id)) rows.set(m.id, makeRow(picked, tag => narrow({ tag })));
      const row = rows.get(m.id);
      row.show(m);
      if (row.li === place) place = place.nextElementSibling;
      else list.insertBefore(row.li, place);
      return row;
    });
    while (place) {
      const next = place.nextElementSibling;
      place.remove();
      place = next;
    }
    if (held && document.activeElement !== held && held.isConnected) held.focus({ preventScroll: true });
    const known = new Set(summary.monitors.map(m => m.id));
    for (const id of rows.keys()) if (!known.has(id)) rows.delete(id);
    const filtered = filter.q || filter.tag || filter.status;
    put(note, !wanted.length && filtered ? ["Nothing matches. ", h("button.small", { onclick: () => {
      search.value = "";
      narrow({ q: "", tag: "", status: "" });
    } }, "Show all")] : summary.total > summary.monitors.length ?
      `The first ${summary.monitors.length} of ${summary.total} are shown: search to see others.` :
      filtered ? `${wanted.length} of ${summary.total} shown` : "");
    picked();
  }

  const chosen = () => shown.filter(row => row.box.checked);

  function picked() {
    const count = chosen().length;
    all.checked = count > 0 && count === shown.length;
    all.indeterminate = count > 0 && count < shown.length;
    for (const row of shown) row.li.classList.toggle("picked", row.box.checked);
    if (bulk.count === count) return;
    bulk.count = count;
    bulk.hidden = !count;
    put(bulk, h("b", { role: "status" }, `${count} selected`), [["Pause", pauseAll], ["Resume", resumeAll], ["Tag", tagAll], ["Delete", deleteAll],
      ["Clear", () => { for (const row of shown) row.box.checked = false; picked(); }]].map(([label, act]) =>
      h("button", { class: label === "Delete" ? "bad" : "", onclick: act }, label)));
  }

  async function forEach(done, act) {
    const bad = [];
    const those = chosen();
    for (const row of those) row.box.checked = false;
    picked();
    for (const { m } of those) {
      try {
        await act(m);
      } catch (error) {
        if (!error.sentence) throw error;
        bad.push(`${m.name}: ${error.sentence}`);
      }
    }
    say(bad.length ? bad.slice(0, 3).join("; ") : `${those.length} ${done}`, bad.length > 0);
    app.refresh();
  }

  const plural = () => `${chosen().length} monitor${chosen().length > 1 ? "s" : ""}`;

  async function pauseAll() {
    const answer = await askPause(`Pause ${plural()}`);
    if (answer) await forEach("paused", m => post(monitorPath(m.id, "pause"), answer));
  }

  const resumeAll = () => forEach("resumed", m => post(monitorPath(m.id, "resume")));

  async function tagAll() {
    const answer = await ask(`Tag ${plural()}`, close => {
      const what = choose([["add", "Add"], ["remove", "Remove"]], "add"), word = h("input", { autofocus: true });
      return formOf(async () => { if (word.value.trim()) close([what.value, word.value.trim().split(/\s+/)]); },
        field("What to do", what), field("Tags", word, "separated by spaces"), submit("Apply"));
    });
    if (!answer) return;
    const [what, given] = answer;
    await forEach("tagged", m => patch(monitorPath(m.id), {
      tags: what === "add" ? [...new Set([...m.tags, ...given])] : m.tags.filter(tag => !given.includes(tag)) }));
  }

  async function deleteAll() {
    const yes = await confirm(`Delete ${plural()}?`, "Their pings, runs and logs are deleted too. This cannot be undone.", `Delete ${plural()}`, true);
    if (yes) await forEach("deleted", m => del(monitorPath(m.id)));
  }

  list.addEventListener("pointermove", event => tipAt(event));
  list.addEventListener("pointerleave", () => showTip(""));
  list.addEventListener("pointerdown", event => tipAt(event));

  function tipAt(event) {
    const target = event.target.closest("svg.strip");
    const row = target && shown.find(one => one.li.contains(target));
    if (!row) return showTip("");
    const box = target.getBoundingClientRect();
    const run = row.m.runs[Math.floor((event.clientX - box.left) / box.width * 30) - 30 + row.m.runs.length];
    showTip(run ? runWords(run, row.m.timezone) : "", event.clientX, box.top);
  }

  function step(by) {
    const at = shown.findIndex(row => row.li.contains(document.activeElement));
    const next = shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.max(0, Math.min(shown.length - 1, at + by))];
    next?.link.focus();
    next?.li.scrollIntoView({ block: "nearest" });
    return true;
  }

  const view = { title: "Monitors", node, search,
    summaryPath: () => `/api/v1/summary${isBig() ? query({ query: filter.q, tag: filter.tag,
      status: ["new", "up", "down", "paused"].includes(filter.status) ? filter.status : "" }) : ""}`,
    async onSummary(summary) {
      const counts = summary.counts;
      if (counts.new + counts.up + counts.down + counts.paused === 0) {
        if (welcome) return;
        welcome = (await import("./edit.js")).welcome(app);
        put(node, welcome);
        return;
      }
      if (welcome) put(node, page);
      welcome = null;
      paint();
      if (app.searching) search.focus();
      app.searching = false;
    },
    onTick() {
      for (const row of shown) if (row.state !== stateOf(row.m)) row.show(row.m);
    },
    onKey(event) {
      if (event.key === "j" || event.key === "ArrowDown") return step(1);
      if (event.key === "k" || event.key === "ArrowUp") return step(-1);
      if (event.key !== "x") return false;
      const row = shown.find(one => one.li.contains(document.activeElement));
      if (!row) return false;
      row.box.checked = !row.box.checked;
      picked();
      return true;
    },
    close: () => showTip("") };
  return view;
}
