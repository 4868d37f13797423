// A monitor's page: why it is down, what can be done, how its runs went, what happened.

import { Refusal, get, post, del, monitorPath, query } from "./api.js";
import { h, svg, add, put, setText, ask, confirm, askPause, badge, shape, time, at, clock, stamp, dayWord, duration, about, zoneName, now, ms, say, field, formOf, submit, choose, complain, card, closer, bar, has, button, entry, titled, fate, bytes, counted } from "./dom.js";
import { stateOf, ruleWords, scheduleWords, SIGNS } from "./list.js";
import { slotWords, showTip, percent } from "./strip.js";
import { pingLines } from "./lines.js";

const pageOf = id => `#/monitors/${id}`;
const logPath = (id, run) => `/api/v1/monitors/${encodeURIComponent(id)}/runs/${encodeURIComponent(run)}/log`;
const TAIL_LINES = 10, CHART_RUNS = 100, LOG_ROWS = 60, ROWS = 10;
const outcome = run => run.state === "success" && run.matched?.length ? "matched" : run.state;

// -- Why it is down, or that it is well

function headline(m, runs) {
  const zone = m.timezone, state = stateOf(m), last = runs.find(run => run.state !== "running");
  const since = m.downSince && ["down ", time(m.downSince, "since", zone), ", since ", at(m.downSince, zone)];
  if (state === "down" && m.downReason === "missed") return [m.lastPingAt ? ["No ping since ", at(m.lastPingAt, zone)] : "No ping yet", ": ", since, "."];
  if (state === "down" && m.downReason === "stuck") return ["A run did not end in time: ", since, "."];
  if (state === "down") {
    const run = runs.find(one => one.state === "failed") || {};
    return [`Failed${has(run.exitCode) ? ` with exit code ${run.exitCode}` : ""}${run.message ? ` (${run.message})` : ""}: `, since, "."];
  }
  if (state === "late") return ["Late: expected ", at(m.expectedAt, zone), ", ", time(m.nextExpectedAt, "alert", zone), "."];
  if (state === "paused") return m.pausedUntil ? ["Paused until ", at(m.pausedUntil, zone), ": no notifications until then."] : "Paused until resumed: no notifications until then.";
  if (state === "new") return m.lastPingAt ? "It has not told of a run yet." : "No ping yet: its schedule begins with the first one.";
  if (last?.matched?.length) return ["Went well, but ", last.matched.map(rule => ruleWords({ ...rule, actual: (last.metrics || {})[rule.field] })).join(", "), "."];
  return ["All is well. Last ping ", time(m.lastPingAt, "ago", zone), "."];
}

function scheduleLine(m) {
  return [scheduleWords(m),
    m.expectedAt && ms(m.expectedAt) > now() && m.status !== "paused" ? [" · next ", at(m.expectedAt, m.timezone), " (", time(m.expectedAt, "due", m.timezone), ")"] : "",
    " · ", m.recipients.length ? `told: ${m.recipients.join(", ")}` : h("span.warn-text", "No notifications")];
}

// -- The chart of run durations

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

function chart(m, runs, onRun) {
  const timed = runs.slice(0, CHART_RUNS).reverse();
  const good = timed.filter(run => run.state === "success" && run.durationMs !== null).map(run => run.durationMs).sort((a, b) => a - b);
  const node = h("div.chart");
  if (!timed.some(run => run.durationMs !== null)) return put(node, h("p.soft", runs.length ? "How long runs take is shown once one has told when it started." : "No runs yet."));
  const limit = m.maxRunSeconds ? m.maxRunSeconds * 1000 : null;
  const longest = Math.max(...timed.map(run => run.durationMs || 0), 1);
  const top = limit && limit < 4 * longest ? Math.max(limit, longest) : longest;
  const low = quantile(good, .1), high = quantile(good, .9);

  function draw() {
    const width = node.clientWidth || 600, tall = 120, foot = 8, head = 14;
    const step = width / timed.length, y = value => tall - foot - value / top * (tall - foot - head);
    const label = (words, value, kind) => [svg("line", { x1: 0, x2: width, y1: y(value), y2: y(value), class: kind }),
      svg("text", { x: width - 2, y: Math.max(11, y(value) - 4), "text-anchor": "end" }, words)];
    put(node, svg("svg", { viewBox: `0 0 ${width} ${tall}`, width, height: tall, role: "img",
      "aria-label": `Durations of the last ${timed.length} runs, the longest ${duration(longest)}${good.length ? `, usually ${duration(low)} to ${duration(high)}` : ""}` },
    good.length > 4 && svg("rect", { x: 0, width, y: y(high), height: Math.max(2, y(low) - y(high)), class: "usual" }),
    timed.map((run, n) => {
      const reach = run.durationMs === null ? 6 : Math.max(2, tall - foot - y(run.durationMs));
      const wide = Math.max(1, Math.min(18, step - 2)), x = n * step + (step - wide) / 2;
      return svg("g", { class: `bar is-${outcome(run)}`, "data-n": n },
        svg("rect", { x: n * step, y: 0, width: step, height: tall, class: "hit" }),
        svg("rect", { x, y: tall - foot - reach, width: wide, height: reach, rx: 1 }),
        (run.state === "failed" || run.state === "stuck") && svg("rect", { x, y: tall - foot + 3, width: wide, height: 3 }));
    }),
    limit && top >= limit && label(`longest allowed ${duration(limit)}`, limit, "limit"),
    label(`longest ${duration(longest)}`, longest, "longest")));
    if (good.length > 4) add(node, h("p.hint", `Usually ${duration(low)} to ${duration(high)}.`));
  }

  const barAt = event => timed[event.target.closest("g.bar")?.dataset.n];
  node.addEventListener("pointermove", event => {
    const run = barAt(event);
    showTip(run ? slotWords([ms(run.startedAt), run.durationMs, outcome(run), run.exitCode], m.timezone) : "", event.clientX, node.getBoundingClientRect().top + 20);
  });
  node.addEventListener("pointerleave", () => showTip(""));
  node.addEventListener("click", event => { const run = barAt(event); if (run) onRun(run); });
  const watch = new ResizeObserver(() => { if (node.clientWidth !== node.drawn) { node.drawn = node.clientWidth; draw(); } });
  watch.observe(node);
  return node;
}

// -- Metrics: a line of the last values of each number that runs report

const figure = value => Math.abs(value) >= 1e6 ? bytes(value).replace("B", "").replace("k", "k").trim() : `${Math.round(value * 1000) / 1000}`;

function sparkline(values) {
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1, wide = 120, tall = 28;
  const points = values.map((value, n) => `${(n * wide / Math.max(1, values.length - 1)).toFixed(1)} ${(tall - 3 - (value - low) / span * (tall - 6)).toFixed(1)}`);
  const [x, y] = points.at(-1).split(" ");
  return svg("svg.spark", { viewBox: `0 0 ${wide + 4} ${tall}`, role: "img", "aria-label": `${values.length} values from ${figure(low)} to ${figure(high)}` },
    svg("path", { d: `M${points.join("L")}` }), svg("circle", { cx: x, cy: y, r: 2.5 }));
}

function metricsCard(m, runs) {
  const names = new Map();
  for (const run of [...runs].reverse()) {
    for (const [name, value] of Object.entries(run.metrics || {})) names.set(name, [...names.get(name) || [], value]);
  }
  if (!names.size) return "";
  return card("Metrics", h("ul.metrics", [...names].slice(0, 12).map(([name, values]) => {
    const rules = m.rules.filter(rule => rule.field === name);
    return h("li", h("span", name, rules.map(rule => h("span.soft", ` rule: ${SIGNS[rule.operator]} ${rule.value}`))), sparkline(values), h("b", figure(values.at(-1))));
  })));
}

// -- Activity: a start and its end are one row

const PINGS = { start: "Started", success: "Went well", fail: "Failed", ok: "Marked as OK", log: "Log", progress: "Progress" };
const EVENTS = { missed: ["down", "Missed"], failed: ["down", "Down"], stuck: ["down", "Stuck"], silent_failure: ["late", "Rule"], recovered: ["up", "Recovered"], reminder: ["down", "Reminder"], test: ["new", "Test"] };

const OF_RUNS = ["failed", "silent_failure"];

// Rows, newest first: the pings of a run together, a change of status with the event that tells of it.
export function activityRows(entries, runs) {
  const known = new Map(runs.map(run => [run.id, run])), seen = new Map(), rows = [];
  const told = new Set(entries.filter(one => one.type === "event").map(one => one.at));
  for (const one of entries) {
    const run = one.type === "ping" && one.ping.run;
    if (run && seen.has(run)) {
      seen.get(run).pings.push(one.ping);
      continue;
    }
    if (one.type === "flip" && told.has(one.at)) continue;
    const cause = one.type === "event" && OF_RUNS.includes(one.event.kind) && seen.get(one.event.run?.id);
    if (cause && cause.at === one.at) {  // it says no more than the run, but who was told
      cause.deliveries = one.event.deliveries;
      continue;
    }
    const row = run ? { type: "run", at: one.at, id: run, run: known.get(run), pings: [one.ping] } : { ...one };
    if (run) seen.set(run, row);
    rows.push(row);
  }
  return rows;
}

export function deliveryWords(deliveries) {
  if (!deliveries.length) return h("span.soft", "nobody told");
  const sent = deliveries.filter(one => one.state === "sent").length, all = deliveries.length;
  const names = h("ul", deliveries.map(one => h("li.delivery", shape(fate(one)[0]), h("span", `${one.name}: ${fate(one)[1]}`,
    one.tries > 1 && `, tried ${one.tries} times`, one.state !== "sent" && one.result && h("span.bad-text", ` – ${one.result}`)))));
  const words = sent === all ? `${all} told` : `${sent} of ${all} told`;
  return h("details.told-whom", { open: deliveries.some(one => one.state === "dead" || one.tries > 0 && one.state !== "sent") }, h("summary", words), names);
}

// An event without the name of its monitor, which the page shows already.
export function eventWords({ kind, at: when, summary, monitor }) {
  if (kind === "missed") return ["no ping by ", at(when, "")];
  return monitor && kind !== "test" ? summary.replace(monitor.name, "").replace(/^[✖✔▲\s]+/u, "") : summary;
}

function activityRow(m, row) {
  const line = (word, ...rest) => h("li.entry", h("span.at", time(row.at, "hour", m.timezone)), word, rest);
  if (row.type === "flip") return line(badge(row.flip.status), h("span.facts-line.begin", row.flip.reason || ""));
  if (row.type === "absence") return line(badge("unknown", "Away"), h("span.facts-line.begin", `cronwatch was away for ${duration(ms(row.absence.until) - ms(row.absence.since))}: what happened then is not known`));
  if (row.type === "event") return line(badge(...EVENTS[row.event.kind] || ["unknown", row.event.kind]), h("span.facts-line.begin", eventWords(row.event)), deliveryWords(row.event.deliveries));
  if (row.type === "ping") {
    const { ping } = row;
    return line(h("span.badge.plain-badge", PINGS[ping.type] || titled(ping.type)), h("span.facts-line.begin", [ping.message, ping.host && `from ${ping.host}`].filter(Boolean).join(" · "), h("span.soft", ` ${[ping.ipAddress, ping.dialect].filter(Boolean).join(" · ")}`)));
  }
  const [newest] = row.pings, run = row.run || { state: { success: "success", fail: "failed" }[newest.type] || "running", exitCode: newest.exitCode, durationMs: newest.durationMs, message: newest.message, host: newest.host };
  const steps = row.pings.filter(ping => ping.type === "progress").length;
  const facts = [run.exitCode ? `exit code ${run.exitCode}` : "", has(run.durationMs) && run.state !== "running" ? `took ${duration(run.durationMs)}` : "",
    run.matched?.length ? run.matched.map(rule => ruleWords({ ...rule, actual: (run.metrics || {})[rule.field] })).join(", ") : "", run.message, run.host && `from ${run.host}`].filter(Boolean).join(" · ");
  const running = run.state === "running" && run.startedAt ? ["for ", time(run.startedAt, "elapsed", m.timezone), facts && " · "] : "";
  return line(h("a.badge-link", { href: `${pageOf(m.id)}/runs/${row.id}`, "aria-label": `Run ${row.id}, ${titled(outcome(run))}` }, badge(outcome(run))),
    h("span.facts-line.begin", running, facts, steps > 0 && h("span.soft", ` · ${counted(steps, "step")}`)), run.hasLog && h("span.tag", "log"), row.deliveries && deliveryWords(row.deliveries));
}

export function byDay(rows, render, zone, heading = "h3") {
  const nodes = [];
  let day = null;
  for (const row of rows) {
    const word = dayWord(ms(row.at), zone);
    if (word !== day) nodes.push(h("li.day", h(heading, word)));
    day = word;
    nodes.push(render(row));
  }
  return h("ol.activity", nodes);
}

// -- A run: its log in a pane that can be searched, and how it went on

function logPane(name, content) {
  const pre = h("pre.log", { tabindex: "0", "aria-label": "Output of the run" }, content);
  const found = h("span.soft", { role: "status" });
  const search = h("input", { type: "search", placeholder: "Search the log", "aria-label": "Search the log" });
  let marks = [], at = 0;
  const show = () => {
    marks.forEach((mark, n) => mark.classList.toggle("current", n === at));
    marks[at]?.scrollIntoView({ block: "nearest" });
    put(found, search.value ? marks.length ? `${at + 1} of ${marks.length}` : "nothing found" : "");
  };
  search.addEventListener("input", () => {
    const text = search.value.toLowerCase(), lower = content.toLowerCase();
    put(pre);
    marks = [];
    at = 0;
    let from = 0;
    for (let next; text && marks.length < 2000 && (next = lower.indexOf(text, from)) >= 0; from = next + text.length) {
      const mark = h("mark", content.slice(next, next + text.length));
      add(pre, content.slice(from, next), mark);
      marks.push(mark);
    }
    add(pre, content.slice(from));
    show();
  });
  search.addEventListener("keydown", event => {
    if (event.key !== "Enter" || !marks.length) return;
    at = (at + (event.shiftKey ? marks.length - 1 : 1)) % marks.length;
    show();
  });
  const download = () => {
    const link = h("a", { href: URL.createObjectURL(new Blob([content], { type: "text/plain" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  return h("div", h("div.tools", search, found, h("button.at-end", { onclick: download }, "Download")), pre);
}

const factList = pairs => h("dl.facts", pairs.filter(([, value]) => has(value) && value !== false && value !== "").map(([name, value]) =>
  h("div", h("dt", name), h("dd", value))));

// What the pane of a run shows; it is made anew while the run goes on.
async function runParts(m, id) {
  const [run, log] = await Promise.all([get(monitorPath(m.id, "runs", encodeURIComponent(id))), get(logPath(m.id, id))]);
  const nodes = [h("div.dialog-head", h("h2", `Run ${run.id} `, badge(outcome(run))), closer()),
    factList([["Started", stamp(ms(run.startedAt), m.timezone, true)],
      ["Took", run.state === "running" ? time(run.startedAt, "elapsed", m.timezone) : has(run.durationMs) && duration(run.durationMs)],
      ["Exit code", run.exitCode], ["Host", run.host], ["Message", run.message], ["Its own id", run.series], ["Matched", run.matched.map(rule => `${rule.field} ${SIGNS[rule.operator]} ${rule.value}`).join(", ")], ...Object.entries(run.metrics || {})]),
    run.progress.length > 0 && [h("h3", "Progress"), h("ol.steps", { tabindex: "0", "aria-label": "Progress" }, run.progress.map(one =>
      h("li", h("span.at", `+${duration(ms(one.at) - ms(run.startedAt))}`), has(one.percent) ? bar(one.percent) : h("span"),
        h("span", [has(one.percent) && `${one.percent} %`, one.message].filter(Boolean).join(" · ")))))],
    h("h3", "Log"), log.hasLog ? logPane(`run-${run.id}.log`, log.content) : h("p.soft", "This run sent no output.")];
  return { nodes, goesOn: run.state === "running" };
}

// -- The page

// An interval counts from a ping: where none is awaited, its next times are only those of the answer.
async function getMonitor(id) {
  const m = await get(monitorPath(id));
  return m.scheduleType === "interval" && !(ms(m.expectedAt) > now()) ? { ...m, upcoming: [] } : m;
}

const PARTS = ["top", "lead", "live", "wait", "chart", "log", "uptime", "metrics", "next", "ping", "facts", "handles"];

export async function monitorPage(app, id, opened) {
  let m = await getMonitor(id), runs = [];
  const parts = Object.fromEntries(PARTS.map(name => [name, h("div", { class: `part-${name}` })]));
  const seen = { m: JSON.stringify(m) };
  const spoken = h("p.hidden", { role: "status" });  // the sentence holds times that change each second
  let rowsShown = ROWS, pane = null, entries = [], more = false, tail = "";

  const act = (words, call) => async () => {
    try {
      const answer = await call();
      if (answer === false) return;
      say(typeof answer === "string" ? answer : words);
    } catch (error) {
      complain(error);
    }
    await load();
    app.refresh();
  };

  async function pause() {
    const answer = await askPause("Pause");
    return answer ? post(monitorPath(m.id, "pause"), answer) : false;
  }

  async function test() {
    const { results } = await post(monitorPath(m.id, "test"));
    await ask("Test alert", () => results.length ? h("ul", results.map(({ name, ok, result }) =>
      h("li", badge(ok ? "up" : "down", ok ? "Told" : "Failed"), ` ${name}`, result && h("pre", h("code", result))))) :
      h("p", "No notifications: no integration is linked to this monitor, or all are switched off."));
    return "Test alert sent";
  }

  const remove = () => ask("Delete this monitor", close => {
    const typed = entry("typed", { autofocus: true });
    const name = m.name.trim().replace(/\s+/g, " ");
    return formOf(async () => {
      if (typed.value.trim().replace(/\s+/g, " ") !== name) throw new Refusal(0, "This is not its name.");
      await del(monitorPath(m.id));
      close(true);
      say("Deleted");
      app.go("#/");
    }, h("p", "Its pings, runs and logs are deleted too. Type its name to go on: ", h("b", m.name)),
    field("Name", typed), submit("Delete", "bad"));
  });

  function paintTop() {
    const state = stateOf(m);
    setText(spoken, titled(state));
    const rest = h("details.menu", h("summary.button", { "aria-label": "More" }, "…"), h("div", h("a", { href: `${pageOf(m.id)}/edit` }, "Edit"),
      button("Send a test alert", act("", test)), button("Delete", remove, { class: "bad" })));
    rest.addEventListener("click", event => { if (event.target.closest("a, button")) rest.open = false; });
    put(parts.top, h("div.head", h("div", h("a.crumb", { href: "#/" }, "Monitors"), h("h1", { tabindex: "-1" }, badge(state), " ", h("span", m.name)),
      h("div.under", h("span.soft", scheduleLine(m)), m.tags.split(" ").filter(Boolean).map(tag => h("a.tag", { href: `#/${query({ tag })}` }, tag)))),
    h("div.buttons", m.status === "down" && button("Mark as OK", act("Marked as OK", () => post(monitorPath(m.id, "ok"))), { class: "primary" }),
      m.paused ? button("Resume", act("Resumed", () => post(monitorPath(m.id, "resume"))), { class: "primary" }) : button("Pause", act("Paused", pause)), rest)));
    const run = m.running && { ...m.lastRun, ...m.progress };
    const usual = usualMs();
    const left = run && usual && usual - (now() - ms(run.startedAt));
    put(parts.live, run && h("section.card.live", h("div", h("b", "Running"), h("span", "for ", time(run.startedAt, "elapsed", m.timezone)), has(run.percent) && [bar(run.percent), h("span", `${run.percent} %`)],
      run.message && h("span.message", run.message), left > 0 ? h("span.soft", `usually ${duration(usual)}: about ${about(left)} left`) : usual ? h("span.soft", `usually ${duration(usual)}`) : "")));
  }

  const usualMs = () => {
    const good = runs.filter(run => run.state === "success" && run.durationMs !== null).map(run => run.durationMs).sort((a, b) => a - b);
    return good.length > 1 ? quantile(good, .5) : null;
  };

  function paintLead() {
    const state = stateOf(m), failed = failedRun();
    put(parts.lead, h("section.card.lead", { class: `is-${state === "up" && runs.find(run => run.state !== "running")?.matched?.length ? "matched" : state}` }, h("p.sentence", headline(m, runs)),
      tail && failed && [h("div.head", h("h2", "Last log lines"), h("a", { href: `${pageOf(m.id)}/runs/${failed.id}` }, "Whole log")),
        h("pre.log", { tabindex: "0", "aria-label": "Last log lines" }, tail)],
      m.notes && h("p.notes", m.notes),
      !m.recipients.length && h("p.warn-text", "No notifications: no integration is told of this monitor. ", h("a", { href: `${pageOf(m.id)}/edit` }, "Choose one")),
      m.droppedPings > 0 && h("p.soft", `${counted(m.droppedPings, "ping")} dropped: too soon, or without the key that they need.`)));
  }

  const failedRun = () => m.status === "down" && m.downReason !== "missed" && runs.find(run => run.state === "failed" || run.state === "stuck") || null;

  async function loadTail() {
    const failed = failedRun(), wanted = failed && failed.hasLog ? failed.id : "";
    if (seen.tail === wanted) return;
    seen.tail = wanted;
    const log = wanted ? await get(logPath(m.id, wanted)) : {};
    tail = log.hasLog ? log.content.trimEnd().split("\n").slice(-TAIL_LINES).join("\n") : "";
    paintLead();
  }

  function paintWait() {
    const waiting = m.status === "new" && !m.lastPingAt;
    if (seen.wait === waiting) return;
    const arrived = seen.wait === true && !waiting;
    seen.wait = waiting;
    put(parts.wait, waiting ? h("section.card.waiting", h("h2", "Waiting for the first ping"),
      h("p", h("span.pulse"), "Put a line into your job, or try it in a terminal now. This page shows the ping when it arrives."), pingLines(m)) :
      arrived && h("section.card.arrived", { role: "status" }, h("h2", shape("up"), " The first ping has arrived"),
        h("p", "It came at ", clock(m.lastPingAt, m.timezone), ". From now on cronwatch knows when to expect the next one.")));
    put(parts.ping, !waiting && h("section.card", h("details.fold", h("summary", "How to ping"), pingLines(m))));
  }

  // A window that reaches beyond the life of the monitor would say the same again: the first that
  // holds all of it is the last one, and says since when.
  function paintUptime({ windows }) {
    const name = { 1: "24 hours", 7: "7 days", 30: "30 days", 90: "90 days" };
    const born = ms(m.createdAt), whole = windows.findIndex(one => ms(one.since) <= born);
    const wanted = whole < 0 ? windows : windows.slice(0, whole + 1);
    const downs = one => one.downtimes ? [`${one.downtimes}× down`, one.downSeconds && duration(one.downSeconds * 1000)].filter(Boolean).join(", ") : one.downSeconds ? `down ${duration(one.downSeconds * 1000)}` : one.uptime === null ? "not known yet" : one.uptime < 1 ? "down for less than 1 s" : "never down";
    put(parts.uptime, card("Uptime", h("dl.tiles", wanted.map(one => h("div", h("dt", ms(one.since) <= born ? ["since ", at(m.createdAt, m.timezone)] : name[one.days]),
      h("dd", h("b", percent(one.uptime)), h("span.soft", downs(one))))))));
  }

  function paintRuns() {
    put(parts.chart, card("Runs", chart(m, runs, run => app.go(`${pageOf(m.id)}/runs/${run.id}`))));
    put(parts.metrics, metricsCard(m, runs));
  }

  // The newest page is made anew; what was asked for beyond it stays.
  function keepLog(page) {
    const last = page.entries.at(-1)?.at;
    const older = last <= entries[0]?.at ? entries.filter(one => one.at < last) : [];
    if (!older.length) more = page.more;
    entries = [...page.entries, ...older];
    paintLog();
  }

  async function showOlder() {
    rowsShown += rowsShown > ROWS ? 50 : 20;
    while (more && activityRows(entries, runs).length < rowsShown) {
      const page = await get(`${monitorPath(id, "log")}?limit=200&before=${entries.at(-1).at}`);
      entries.push(...page.entries);
      more = page.more;
    }
    paintLog();
  }

  function paintLog() {
    const rows = activityRows(entries, runs);
    put(parts.log, card("Activity", rows.length ? byDay(rows.slice(0, rowsShown), row => activityRow(m, row), m.timezone) : h("p.soft", "Nothing yet."),
      (more || rows.length > rowsShown) && button("Show more", () => showOlder().catch(complain))));
  }

  function paintAside() {
    put(parts.next, card("Expected next", m.upcoming?.length ? [h("ol.times", m.upcoming.map(when =>
      h("li", clock(when, m.timezone), " ", h("span.soft", time(when, "due", m.timezone))))), h("p.hint", zoneName(m.timezone))] :
      h("p.soft", m.scheduleType === "none" ? "It has no schedule." : m.status === "new" ? "Its schedule begins with the first ping." : "Nothing is expected.")));
    put(parts.facts, card("Details", factList([["Schedule", m.scheduleType === "cron" ? [m.schedule, " ", h("code", m.cronExpression)] : m.schedule], ["Time zone", m.scheduleType === "cron" && m.timezone],
      ["Grace", m.scheduleType !== "none" && (m.graceSeconds ? duration(m.graceSeconds * 1000) : "none")],
      ["Sign of life", m.expects === "run" ? "any ping" : "a good end"], ["Longest run", m.maxRunSeconds && duration(m.maxRunSeconds * 1000)],
      ["Tolerates", m.failureTolerance > 0 && `${m.failureTolerance} failures in a row`], ["Reminds", m.reminderIntervalSeconds > 0 && `every ${duration(m.reminderIntervalSeconds * 1000)}`],
      ["Failure rules", m.rules.map(rule => `${rule.field} ${SIGNS[rule.operator]} ${rule.value}`).join(", ")], ["Key", h("code", m.key)], ["Created", clock(m.createdAt, m.timezone)]])));
  }

  function paintHandles() {
    const { open } = parts.handles.querySelector("details") || {};
    const drop = handle => act("Removed", () => del(`${monitorPath(m.id, "handles")}${query({ handle })}`));
    const rotate = kind => async () => {
      const yes = await confirm(`A new ${kind}`, `Scripts that use the ${kind} of today cannot ping this monitor any more.`, `Replace the ${kind}`, true);
      if (yes) await act(`The ${kind} is a new one`, async () => { m = await post(monitorPath(m.id, "handles", "rotate"), { kind }); delete seen.wait; })();
    };
    const text = entry("handle", { class: "mono" });
    const dialect = choose([["", "Whose it is"], ...["cronbeats", "cronitor", "cronping", "crontify", "healthchecks", "kuma"].map(name => [name, name])], "", { "aria-label": "Service", "data-name": "dialect" });
    put(parts.handles, h("section.card", h("details.fold", { open }, h("summary", "Handles"), h("p.hint", "Secrets that ping this monitor. Adopt the one that a script has from its old service."),
      h("ul", ["token", "code"].map(kind => h("li.handle", h("span", kind), h("code", m[kind]), button("Replace", rotate(kind), { class: "small", "aria-label": `Replace the ${kind}` }))),
        m.handles.map(one => h("li.handle", h("span", one.dialect), h("code", one.handle), button("Remove", drop(one.handle), { class: "small", "aria-label": `Remove ${one.handle}` })))),
      formOf(async () => {
        await post(monitorPath(m.id, "handles"), { handle: text.value.trim(), ...(dialect.value && { dialect: dialect.value }) });
        await load();
        say("Adopted");
      }, field("Adopt a handle", h("div.joined", text, dialect)), submit("Adopt", "")))));
  }

  // Each part is made anew only where what it shows has changed: a log that is read stays where it is.
  function changed(name, value) {
    const words = JSON.stringify(value);
    if (seen[name] === words) return false;
    seen[name] = words;
    return true;
  }

  async function load() {
    const [fresh, page, log, uptime] = await Promise.all([getMonitor(id), get(`${monitorPath(id, "runs")}?limit=${CHART_RUNS}`),
      get(`${monitorPath(id, "log")}?limit=${LOG_ROWS}`), get(`${monitorPath(id, "uptime")}?days=1&days=7&days=30&days=90`)]);
    m = fresh;
    runs = page.runs;
    const ran = changed("runs", [runs, m.maxRunSeconds, m.rules]);
    paint();
    if (ran) paintRuns();
    if (changed("log", [log, runs])) keepLog(log);
    if (changed("uptime", uptime)) paintUptime(uptime);
    await loadTail();
    if (!pane?.goesOn) return;
    const { nodes, goesOn } = await runParts(m, pane.run);
    if (pane) put(Object.assign(pane, { goesOn }), nodes);
  }

  function paint() {
    if (changed("top", [m, stateOf(m), runs.length])) {
      paintTop();
      paintLead();
    }
    if (changed("aside", [m.upcoming, m.updatedAt, m.status])) paintAside();
    if (changed("handles", [m.handles, m.token, m.code])) paintHandles();
    paintWait();
  }

  async function openRun(run) {
    pane?.close();
    if (!run) return;
    try {
      const { nodes, goesOn } = await runParts(m, run);
      pane = h("dialog.drawer", { "aria-label": `Run ${run}`, onclose: event => {
        event.target.remove();
        pane = null;
        if (location.hash.includes("/runs/")) history.replaceState(null, "", pageOf(m.id));
      } }, nodes);
      Object.assign(pane, { run, goesOn });
      document.body.append(pane);
      pane.showModal();
    } catch (error) {
      complain(error);
    }
  }

  paint();
  const loaded = load();
  if (opened) loaded.then(() => openRun(opened));
  const own = new RegExp(`^/monitors/${encodeURIComponent(id).replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?:/runs/([^/]+))?$`);
  const node = h("div.monitor-page", spoken, parts.top, parts.lead, parts.live, parts.wait,
    h("div.columns", h("div", parts.chart, parts.log), h("aside", { "aria-label": "About this monitor" }, parts.uptime, parts.metrics, parts.next, parts.ping, parts.facts, parts.handles)));
  return {
    title: m.name, node,
    moved(path) {
      const match = own.exec(path);
      if (match) openRun(match[1] && decodeURIComponent(match[1]));
      return Boolean(match);
    },
    async onPoll() {
      try {
        const fresh = await getMonitor(id);
        const waits = entries.some(one => one.type === "event" && one.event.deliveries.some(({ state }) => state === "pending"));
        if (changed("m", fresh) || waits) await load();
      } catch (error) {
        if (error.status === 404) app.go("#/");
        else if (!error.sentence) throw error;
      }
    },
    onTick: () => paint(),
    close() { pane?.close(); showTip(""); },
  };
}

// From a mail: it asks with a button, since a link must not change anything by itself.
export async function pausePage(app, id, hours) {
  const m = await get(monitorPath(id));
  const words = Number(hours) === 24 ? "1 day" : Number(hours) === 1 ? "1 hour" : `${Number(hours)} hours`;
  const done = async () => {
    await post(monitorPath(m.id, "pause"), { hours: Number(hours) });
    say("Paused");
    app.go(pageOf(m.id));
  };
  return { title: "Pause", node: h("section.card.narrow", h("h1", `Pause for ${words}?`),
    h("p", badge(stateOf(m)), " ", h("b", m.name), `: no notifications for ${words}.`),
    formOf(done, h("div.buttons", submit(`Pause for ${words}`),
      h("a.button", { href: pageOf(m.id) }, "Show the monitor")))) };
}
