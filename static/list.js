// The first screen: one sentence, the night, and every monitor with its last occurrences.

import { patch, post, del, monitorPath, query } from "./api.js";
import { h, put, setText, ask, askPause, badge, shape, time, at, duration, now, ms, say, choose, formOf, field, confirm, bar, has, submit, counted, button } from "./dom.js";
import { strip, slotAt, slotWords, showTip, percent } from "./strip.js";
import { nightPart } from "./night.js";

const STATES = [["down", "Down"], ["late", "Late"], ["running", "Running"], ["up", "Up"], ["new", "New"], ["paused", "Paused"]];
const PAGE = 100, MOST = 1000;
export const SIGNS = { lt: "<", le: "≤", gt: ">", ge: "≥", eq: "=", ne: "≠" };

const isLate = m => m.status === "up" && m.expectedAt !== null && ms(m.expectedAt) < now();

export function stateOf(m) {
  if (m.status !== "up") return m.status;
  return isLate(m) ? "late" : m.run || m.running ? "running" : "up";
}

const matches = (m, { q, tag, status }) => (!status || stateOf(m) === status) && (!tag || m.tags.includes(tag))
  && (!q || `${m.name}\n${m.key}\n${m.tags.join(" ")}`.toLowerCase().includes(q.toLowerCase()));

// -- The sentence

function headline({ counts, next }) {
  const troubles = [counts.down && h("b.down", `${counts.down} down`), counts.late && h("b.late", `${counts.late} late`)].filter(Boolean);
  const coming = next && ["next: ", h("a", { href: `#/monitors/${next.id}` }, next.name), " ", time(next.at, "due")];
  const well = counts.up + counts.running ? [h("b.up", "All is well")] : [];
  return [...(troubles.length ? troubles : well), coming].filter(Boolean).flatMap((part, n) => n ? [" · ", part] : [part]);
}

function subline({ counts, health }) {
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const alerts = health.dead ? h("a", { href: "#/activity" }, `${counted(health.dead, "alert")} undelivered`)
    : health.pending ? `${counted(health.pending, "alert")} on the way` : "all alerts delivered";
  return [counted(all, "monitor"), " · ", alerts];
}

// -- A row: its parts are made anew only where what they show has changed

export const ruleWords = ({ field: name, operator, value, actual }) =>
  `${name} ${has(actual) ? `is ${actual} ` : ""}(rule: ${SIGNS[operator]} ${value})`;

const failedCode = m => m.strip.findLast(slot => slot[2] === "failed")?.[3];

function missedWords(m) {
  const since = ms(m.downSince), count = m.strip.filter(([when, , state]) => state === "missed" && when <= now() && when >= since - m.graceSeconds * 1000 - 61_000).length;
  return count > 1 ? `missed ${count}${count === 30 ? "+" : ""} times` : "missed";
}

function downWords(m) {
  if (m.downReason === "missed") return missedWords(m);
  if (m.downReason === "stuck") return "stuck: it did not end";
  return failedCode(m) ? `failed with exit code ${failedCode(m)}` : "failed";
}

// A time of day is that of the monitor's zone: it is named where the viewer's is another one.
export function scheduleWords({ schedule, timezone, graceSeconds }) {
  if (schedule === "no schedule") return schedule;
  const zone = /\d:\d\d/.test(schedule) && timezone !== Intl.DateTimeFormat().resolvedOptions().timeZone ? ` ${timezone}` : "";
  return `${schedule}${zone} · ${graceSeconds ? `grace ${duration(graceSeconds * 1000)}` : "no grace"}`;
}

export function progressLine(run, zone) {
  return [has(run.percent) && [bar(run.percent), h("span", `${run.percent} %`)],
    run.message && h("span.message", run.message), h("span.soft", time(run.startedAt, "since", zone))];
}

function why(m) {
  const state = stateOf(m), plan = h("span.plan", scheduleWords(m));
  if (state === "down") return [h("span.bad-text", downWords(m)), h("span.bad-text", "down ", time(m.downSince, "since", m.timezone)), plan];
  if (state === "late") return [h("span.warn-text", time(m.alertAt, "alert", m.timezone)), plan];
  if (state === "paused") return [h("span", m.pausedUntil ? ["paused until ", at(m.pausedUntil, m.timezone)] : "paused until resumed"), plan];
  if (m.run) return h("span.live", progressLine(m.run, m.timezone));
  if (m.matched.length) return [h("span.warn-text", m.matched.map(ruleWords).join(", ")), plan];
  return state === "new" && !m.lastPingAt ? [h("span", "waiting for its first ping"), plan] : plan;
}

function due(m) {
  if (m.status === "paused") return "";
  if (m.status === "new" && !m.expectedAt) return "";
  if (m.status === "down") return m.expectedAt && ms(m.expectedAt) > now() ? ["due ", time(m.expectedAt, "due", m.timezone)] : "";
  if (!m.expectedAt) return "";
  return [isLate(m) ? "" : "due ", time(m.expectedAt, "due", m.timezone)];
}

function took(m) {
  if (m.lastDurationMs === null) return h("span.soft", "–");
  const slow = m.usualDurationMs && m.lastDurationMs > 2 * m.usualDurationMs && m.lastDurationMs > 1000;
  return [h("span", { class: slow ? "warn-text" : "" }, duration(m.lastDurationMs)),
    m.usualDurationMs !== null && h("span.soft", duration(m.usualDurationMs))];
}

const PARTS = {
  sign: [m => stateOf(m), m => badge(stateOf(m))],
  why: [m => [stateOf(m), m.downReason, m.downSince, m.alertAt, m.pausedUntil, m.run, m.matched, m.schedule, m.graceSeconds, m.strip.at(-1)], why],
  slots: [m => m.strip, m => strip(m.strip)],
  last: [m => m.lastPingAt, m => m.lastPingAt ? time(m.lastPingAt, "ago", m.timezone) : h("span.soft", "never")],
  due: [m => [m.status, m.expectedAt, isLate(m)], due],
  took: [m => [m.lastDurationMs, m.usualDurationMs], took],
  uptime: [m => m.uptime, m => h("span", { class: m.uptime !== null && m.uptime < .99 ? "" : "soft" }, percent(m.uptime))],
  told: [m => m.recipients, m => m.recipients.length ? h("span.soft", { title: m.recipients.join(", ") }, m.recipients[0], m.recipients.length > 1 && ` +${m.recipients.length - 1}`) : h("span.warn-text", "No notifications")],
};

function makeRow(onPick) {
  const box = h("input", { type: "checkbox", onchange: () => onPick() });
  const link = h("a.name");
  const tags = h("span.tags");
  const parts = Object.fromEntries(Object.keys(PARTS).map(name => [name, h("div", { class: name })]));
  const li = h("li.row", h("label.pick", box), parts.sign, h("div.what", h("div.title", link, tags), parts.why),
    parts.slots, h("div.when", parts.last, parts.due), parts.took, parts.uptime, parts.told);
  const seen = {};
  const row = { li, box, link, m: null, show(m) {
    row.m = m;
    if (seen.name !== m.name) {
      seen.name = link.textContent = m.name;
      box.setAttribute("aria-label", `Select ${m.name}`);
      link.setAttribute("href", `#/monitors/${m.id}`);
    }
    const tagged = m.tags.join(" ");
    if (seen.tags !== tagged) put(tags, m.tags.map(tag => h("span.tag", tag)));
    seen.tags = tagged;
    for (const [name, [key, make]] of Object.entries(PARTS)) {
      const value = JSON.stringify(key(m));
      if (seen[name] === value) continue;
      seen[name] = value;
      put(parts[name], make(m));
      if (name === "sign") li.className = `row is-${row.state = stateOf(m)}${box.checked ? " picked" : ""}`;
    }
  } };
  return row;
}

// -- The page

export function listPage(app, words) {
  const filter = { q: words.get("q") || "", tag: words.get("tag") || "", status: words.get("status") || "" };
  const rows = new Map(), night = nightPart(app);
  let shown = [], welcome = null, limit = PAGE;

  const title = h("h1", "cronwatch"), under = h("p.soft");
  const search = h("input", { type: "search", placeholder: "Search  /", "aria-label": "Search monitors", value: filter.q, oninput: () => narrow({ q: search.value }) });
  const chips = h("div.chips", { role: "group", "aria-label": "Show only" });
  const select = h("button.plain", { "aria-pressed": "false", onclick: () => selecting(!picking) }, "Select");
  const all = h("input", { type: "checkbox", "aria-label": "Select all that are shown", onchange: () => {
    for (const row of shown) row.box.checked = all.checked;
    picked();
  } });
  const list = h("ul.rows", { "aria-label": "Monitors" });
  const note = h("p.soft.note", { role: "status" });
  const further = button(`Show ${PAGE} more`, () => { limit = Math.min(MOST, limit + PAGE); app.refresh(); }, { hidden: true });
  const bulk = h("div.bulk", { hidden: true });
  const heads = h("div.row.heads", { "aria-hidden": "true" }, ["", "Monitor", "Last 30 times", "Last · due", "Took · usually", "30 days", "Told"].map(words => h("div", words)));
  const board = h("section.card.board", h("div.tools", h("label.pick", all), search, chips, select), heads, list, note, further);
  const page = h("div", h("div.say", title, under), night.node, board, bulk);
  const node = h("div", page);
  let picking = false;

  function selecting(yes) {
    picking = yes;
    board.classList.toggle("selecting", yes);
    select.setAttribute("aria-pressed", String(yes));
    setText(select, yes ? "Done" : "Select");
    if (!yes) for (const row of shown) row.box.checked = false;
    picked();
  }

  function narrow(change) {
    Object.assign(filter, change);
    history.replaceState(null, "", `#/${query(filter)}`);
    if (app.summary) paint();
    if (isBig()) app.refresh();
  }

  // More monitors than an answer holds: then the server looks for them.
  const isBig = () => app.summary && sumOf(app.summary.counts) > PAGE;
  const sumOf = counts => Object.values(counts).reduce((sum, count) => sum + count, 0);

  function paintChips({ counts, tags }) {
    const names = [["", "All", sumOf(counts)], ...STATES.map(([name, label]) => [name, label, counts[name]])].filter(([name, , count]) => count || !name || name === filter.status);
    const state = JSON.stringify([names, tags, filter.status, filter.tag]);
    if (chips.state === state) return;
    chips.state = state;
    const focused = chips.contains(document.activeElement) ? document.activeElement.dataset.chip : null;
    put(chips, names.map(([name, label, count]) => h("button", { class: `chip is-${name || "all"}`, "data-chip": name, "aria-pressed": String(filter.status === name),
      onclick: () => narrow({ status: filter.status === name ? "" : name }) }, name && shape(name), label, " ", h("b", String(count)))),
    Object.entries(tags).map(([tag, count]) => h("button.chip.is-tag", { "data-chip": `#${tag}`, "aria-pressed": String(filter.tag === tag), onclick: () => narrow({ tag: filter.tag === tag ? "" : tag }) }, `#${tag} `, h("b", String(count)))));
    if (focused !== null) chips.querySelector(`[data-chip="${CSS.escape(focused)}"]`)?.focus();
  }

  function paintSay(summary) {
    const state = JSON.stringify([summary.counts, summary.next, summary.health.dead, summary.health.pending]);
    if (title.state === state) return;
    title.state = state;
    put(title, headline(summary));
    put(under, subline(summary));
  }

  function paint() {
    const { summary } = app;
    paintSay(summary);
    paintChips(summary);
    const wanted = summary.monitors.filter(m => matches(m, filter));
    const held = list.contains(document.activeElement) ? document.activeElement : null;
    let place = list.firstElementChild;
    shown = wanted.map(m => {
      if (!rows.has(m.id)) rows.set(m.id, makeRow(picked));
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
    const filtered = filter.q || filter.tag || filter.status, more = summary.total > summary.monitors.length;
    further.hidden = !more || limit >= MOST;
    put(note, !wanted.length && filtered ? ["Nothing matches. ", h("button.small", { onclick: () => {
      search.value = "";
      narrow({ q: "", tag: "", status: "" });
    } }, "Show all")] : more ? `The first ${summary.monitors.length} of ${summary.total} are shown.` :
      filtered ? `${wanted.length} of ${sumOf(summary.counts)} shown` : "");
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
      ["Clear", () => selecting(false)]].map(([label, act]) => h("button", { class: label === "Delete" ? "bad" : "", onclick: act }, label)));
  }

  async function forEach(done, act) {
    const bad = [];
    const those = chosen();
    selecting(false);
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

  const those = () => counted(chosen().length, "monitor");

  async function pauseAll() {
    const answer = await askPause(`Pause ${those()}`);
    if (answer) await forEach("paused", m => post(monitorPath(m.id, "pause"), answer));
  }

  const resumeAll = () => forEach("resumed", m => post(monitorPath(m.id, "resume")));

  async function tagAll() {
    const answer = await ask(`Tag ${those()}`, close => {
      const what = choose([["add", "Add"], ["remove", "Remove"]], "add"), word = h("input", { autofocus: true });
      return formOf(async () => { if (word.value.trim()) close([what.value, word.value.trim().split(/\s+/)]); },
        field("What to do", what), field("Tags", word, "separated by spaces"), submit("Apply"));
    });
    if (!answer) return;
    const [what, tags] = answer;
    await forEach("tagged", m => patch(monitorPath(m.id), {
      tags: what === "add" ? [...new Set([...m.tags, ...tags])] : m.tags.filter(tag => !tags.includes(tag)) }));
  }

  async function deleteAll() {
    const yes = await confirm(`Delete ${those()}?`, "Their pings, runs and logs are deleted too. This cannot be undone.", `Delete ${those()}`, true);
    if (yes) await forEach("deleted", m => del(monitorPath(m.id)));
  }

  list.addEventListener("pointermove", event => tipAt(event));
  list.addEventListener("pointerleave", () => showTip(""));
  list.addEventListener("pointerdown", event => tipAt(event));
  list.addEventListener("click", event => {  // all of a row leads to its page, but what is a control
    if (event.target.closest("a, button, label, input") || String(getSelection())) return;
    const row = shown.find(one => one.li.contains(event.target));
    if (!row) return;
    if (picking) { row.box.checked = !row.box.checked; picked(); }
    else app.go(row.link.getAttribute("href"));
  });

  function tipAt(event) {
    const target = event.target.closest("svg.strip");
    const row = target && shown.find(one => one.li.contains(target));
    const slot = row && slotAt(target, row.m.strip, event.clientX);
    showTip(slot ? slotWords(slot, row.m.timezone) : "", event.clientX, target ? target.getBoundingClientRect().top : 0);
  }

  function step(by) {
    const place = shown.findIndex(row => row.li.contains(document.activeElement));
    const next = shown[place < 0 ? (by > 0 ? 0 : shown.length - 1) : Math.max(0, Math.min(shown.length - 1, place + by))];
    next?.link.focus();
    next?.li.scrollIntoView({ block: "nearest" });
    return true;
  }

  const asked = () => isBig() ? { query: filter.q, tag: filter.tag, status: filter.status } : {};

  const view = { title: "Monitors", node, search,
    summaryPath: () => `/api/v1/summary${query({ ...asked(), limit: limit > PAGE ? limit : "" })}`,
    async onSummary(summary) {
      if (sumOf(summary.counts) === 0 || welcome?.isBegun()) {  // until somebody is through with the first steps
        welcome ||= (await import("./start.js")).startPart(app, () => { welcome = null; put(node, page); app.refresh(); });
        if (!welcome.node.isConnected) put(node, welcome.node);
        await welcome.onPoll();
        return;
      }
      if (welcome) put(node, page);
      welcome = null;
      paint();
      if (app.searching) search.focus();
      app.searching = false;
      night.onSummary(summary, asked());
    },
    onTick() {
      for (const row of shown) if (row.state !== stateOf(row.m)) row.show(row.m);
      night.onTick();
    },
    onKey(event) {
      if (event.key === "j" || event.key === "ArrowDown") return step(1);
      if (event.key === "k" || event.key === "ArrowUp") return step(-1);
      if (event.key !== "x") return false;
      const row = shown.find(one => one.li.contains(document.activeElement));
      if (!row) return false;
      const yes = !row.box.checked;
      if (!picking) selecting(true);
      row.box.checked = yes;
      picked();
      return true;
    },
    close: () => { showTip(""); night.close(); } };
  return view;
}
