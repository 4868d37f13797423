// A monitor's page: what is wrong, what happened, and what can be done about it.

import { Refusal, get, post, del, monitorPath, query } from "./api.js";
import { h, svg, add, put, setText, ask, confirm, askPause, badge, shape, tagList, time, clock, stamp, duration, zoneName, now, ms, say, field, formOf, submit, choose, complain, card, closer, bar, has, button, entry, titled, fate } from "./dom.js";
import { stateOf, progressLine, runWords, showTip } from "./list.js";
import { pingLines } from "./lines.js";

const at = id => `#/monitors/${id}`;
const logPath = (id, run) => `/api/v1/monitors/${encodeURIComponent(id)}/runs/${encodeURIComponent(run)}/log`;
const PINGS = { start: "Started", success: "Went well", fail: "Failed", ok: "Reported OK" };
const TAIL_LINES = 15, RUNS_SHOWN = 15, CHART_RUNS = 100, LOG_ROWS = 50;

// -- What is going on, in a sentence

function sentence(m) {
  const zone = m.timezone, state = stateOf(m), run = m.lastRun;
  if (state === "down") {
    const since = [" since ", clock(m.downSince, zone), " (", time(m.downSince, "ago", zone), ")"];
    if (m.downReason === "missed") return ["Nothing was heard when a run was expected: down", since, ". ", m.lastPingAt ? ["The last ping came ", time(m.lastPingAt, "ago", zone), "."] : "It has never pinged."];
    if (m.downReason === "stuck") return ["A run started and did not end in time: down", since, "."];
    const code = run?.state === "failed" && run.exitCode !== null ? ` with exit code ${run.exitCode}` : "";
    return [`The job failed${code}`, run?.state === "failed" && run.message ? `: ${run.message}.` : ".", " Down", since, "."];
  }
  if (state === "late") return ["It was expected at ", clock(m.expectedAt, zone), " and has not been heard: ", time(m.nextExpectedAt, "alert", zone), "."];
  if (state === "paused") return m.pausedUntil ? ["Paused until ", clock(m.pausedUntil, zone), ": nobody is told of anything."] : "Paused until it is resumed: nobody is told of anything.";
  if (state === "new") return m.lastPingAt ? "It has not told of a run yet." : "It has never been heard: its schedule begins with the first ping.";
  const heard = run?.state === "running" ? ["Running for ", time(run.startedAt, "elapsed", zone)] : ["Last ping ", time(m.lastPingAt, "ago", zone)];
  return m.expectedAt ? ["All is well. ", heard, ", ", time(m.expectedAt, "due", zone), "."] : ["All is well. ", heard, "."];
}

function schedule(m) {
  if (m.scheduleType === "none") return "no schedule";
  const grace = m.graceSeconds ? `, ${duration(m.graceSeconds * 1000)} of grace` : ", no grace";
  return m.scheduleType === "cron" ? [h("code", m.cronExpression), ` ${m.timezone}${grace}`] : `every ${duration(m.intervalSeconds * 1000)}${grace}`;
}

// -- The chart of run durations

const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

function chart(m, runs, onRun) {
  const timed = runs.slice(0, CHART_RUNS).reverse();
  const good = timed.filter(run => run.state === "success" && run.durationMs !== null).map(run => run.durationMs).sort((a, b) => a - b);
  const node = h("div.chart");
  if (!timed.some(run => run.durationMs !== null)) return put(node, h("p.soft", "Durations are shown once a run has told when it started."));
  const limit = m.maxRunSeconds ? m.maxRunSeconds * 1000 : null;
  const longest = Math.max(...timed.map(run => run.durationMs || 0), 1);
  const top = limit && limit < 4 * longest ? Math.max(limit, longest) : longest;
  const low = quantile(good, .1), high = quantile(good, .9);

  function draw() {
    const width = node.clientWidth || 600, tall = 140, foot = 8, head = 16;
    const step = width / timed.length, y = value => tall - foot - value / top * (tall - foot - head);
    const label = (words, value, kind) => [svg("line", { x1: 0, x2: width, y1: y(value), y2: y(value), class: kind }),
      svg("text", { x: width - 2, y: Math.max(11, y(value) - 4), "text-anchor": "end" }, words)];
    put(node, svg("svg", { viewBox: `0 0 ${width} ${tall}`, width, height: tall, role: "img",
      "aria-label": `Durations of the last ${timed.length} runs, the longest ${duration(longest)}${good.length ? `, usually ${duration(low)} to ${duration(high)}` : ""}` },
    good.length > 4 && svg("rect", { x: 0, width, y: y(high), height: Math.max(2, y(low) - y(high)), class: "usual" }),
    timed.map((run, n) => {
      const reach = run.durationMs === null ? 6 : Math.max(2, tall - foot - y(run.durationMs));
      const wide = Math.max(1, Math.min(18, step - 2)), x = n * step + (step - wide) / 2;
      return svg("g", { class: `bar is-${run.state}`, "data-n": n },
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
    showTip(run ? runWords([ms(run.startedAt), run.durationMs, run.state, run.exitCode], m.timezone) : "", event.clientX, node.getBoundingClientRect().top + 20);
  });
  node.addEventListener("pointerleave", () => showTip(""));
  node.addEventListener("click", event => { const run = barAt(event); if (run) onRun(run); });
  const watch = new ResizeObserver(() => { if (node.clientWidth !== node.drawn) { node.drawn = node.clientWidth; draw(); } });
  watch.observe(node);
  return node;
}

// -- The merged log

function delivery(one) {
  const { name, state, tries, triedAt, result } = one, [kind, words] = fate(one);
  return h("li.delivery", shape(kind), h("span", `${name}: ${words}`,
    tries > 1 && `, tried ${tries} times`, triedAt && [", ", time(triedAt)], state !== "sent" && result && ` – ${result}`));
}

const progressOf = ({ ping }) => ping?.type === "progress" && ping.run;

// What a run told of its progress, one after the other, is one line: the newest.
function grouped(entries) {
  const lines = [];
  for (const one of entries) {
    const last = lines.at(-1), run = progressOf(one);
    if (run && last && progressOf(last) === run) last.times++;
    else lines.push({ ...one, times: 1 });
  }
  return lines;
}

function told(m, { at: when, type, flip, event, absence, ping, times }) {
  const line = (word, ...rest) => h("li.entry", h("span.at", clock(when, m.timezone)), word, rest);
  if (type === "flip") return line(badge(flip.status), h("span", flip.reason || ""));
  if (type === "absence") return line(badge("unknown", "Away"), h("span", `cronwatch was away for ${duration(ms(absence.until) - ms(absence.since))}: what happened then is not known`));
  if (type === "event") {
    return line(h("span.word", "Alert"), h("div", h("span", event.summary),
      event.deliveries.length ? h("ul", event.deliveries.map(delivery)) : h("span.soft", " – nobody was told")));
  }
  const facts = [has(ping.percent) && `${ping.percent} %`, has(ping.exitCode) && `exit code ${ping.exitCode}`,
    has(ping.durationMs) && duration(ping.durationMs), ping.message, times > 1 && `told ${times} times`, ping.host && `from ${ping.host}`].filter(Boolean).join(" · ");
  return line(h("span.word", PINGS[ping.type] || titled(ping.type)),
    h("span", facts, h("span.soft", `${facts && " · "}${[ping.ipAddress, ping.dialect].filter(Boolean).join(" · ")}`)),
    ping.run && h("a", { href: `${at(m.id)}/runs/${ping.run}`, class: "at-end" }, `run ${ping.run}`));
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
  const nodes = [h("div.dialog-head", h("h2", `Run ${run.id} `, badge(run.state)), closer()),
    factList([["Started", stamp(ms(run.startedAt), m.timezone, true)],
      ["Took", run.state === "running" ? time(run.startedAt, "elapsed", m.timezone) : has(run.durationMs) && duration(run.durationMs)],
      ["Exit code", run.exitCode], ["Host", run.host], ["Message", run.message], ["Its own id", run.series], ...Object.entries(run.metrics || {})]),
    run.progress.length > 0 && [h("h3", "Progress"), h("ol.timeline", { tabindex: "0", "aria-label": "Progress" }, run.progress.map(one =>
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

export async function monitorPage(app, id, opened) {
  let m = await getMonitor(id);
  const parts = Object.fromEntries(["top", "live", "tail", "wait", "uptime", "chart", "runs", "log", "next", "facts", "handles"].map(name => [name, h("div", { class: `part-${name}` })]));
  const seen = { m: JSON.stringify(m) };
  const spoken = h("p.hidden", { role: "status" });  // the sentence holds times that change each second
  let runRows = RUNS_SHOWN, pane = null, entries = [], more = false;

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
      h("p", "Nobody hears of this monitor: no integration is linked to it, or all are switched off."));
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
    put(parts.top, h("div.head", h("div", h("h1", { tabindex: "-1" }, m.name), h("div.under", badge(state), h("code.soft", m.key), tagList(m.tags.split(" ").filter(Boolean)))),
      h("div.buttons", m.paused ? button("Resume", act("Resumed", () => post(monitorPath(m.id, "resume"))), { class: "primary" }) : button("Pause", act("Paused", pause)),
        m.status === "down" && button("Mark as OK", act("Marked as OK", () => post(monitorPath(m.id, "ok")))),
        button("Send a test alert", act("", test)), h("a.button", { href: `${at(m.id)}/edit` }, "Edit"), button("Delete", remove, { class: "bad" }))),
    h("p", { class: `lead is-${state}` }, sentence(m)),
    !m.heard && h("p.warn-text", "Nobody is told of this monitor: no integration hears of it. ", h("a", { href: "#/integrations" }, "Integrations")),
    m.droppedPings > 0 && h("p.soft", `${m.droppedPings} pings were dropped: they came too soon, or without the key that they need.`));
    put(parts.live, m.running && h("div.live.card", h("b", "Running now"), h("div.live", progressLine({ ...m.lastRun, ...m.progress }, m.timezone))));
  }

  function paintWait() {
    const waiting = m.status === "new" && !m.lastPingAt;
    if (seen.wait === waiting) return;
    const arrived = seen.wait === true && !waiting;
    seen.wait = waiting;
    put(parts.wait, waiting ? h("section.card.waiting", h("h2", "Waiting for the first ping"),
      h("p", h("span.pulse"), "Put a line into your job, or try it in a terminal now. This page shows the ping when it arrives."), pingLines(m)) :
      [arrived && h("section.card.arrived", { role: "status" }, h("h2", shape("up"), " The first ping has arrived"),
        h("p", "It came at ", clock(m.lastPingAt, m.timezone), ". From now on cronwatch knows when to expect the next one.")),
      h("details.fold", h("summary", "Lines that ping it"), pingLines(m))]);
  }

  async function paintTail(runs) {
    const failed = m.status === "down" && m.downReason !== "missed" && runs.find(run => run.state === "failed" || run.state === "stuck");
    const wanted = failed && failed.hasLog ? failed.id : "";
    if (seen.tail === wanted) return;
    seen.tail = wanted;
    const log = wanted ? await get(logPath(m.id, wanted)) : {};
    put(parts.tail, log.hasLog && h("section.card", h("div.head", h("h2", "The end of its log"), h("a", { href: `${at(m.id)}/runs/${wanted}` }, "Whole log")),
      h("pre.log", { tabindex: "0", "aria-label": "The end of the log" }, log.content.trimEnd().split("\n").slice(-TAIL_LINES).join("\n"))));
  }

  function paintUptime({ windows, note }) {
    const name = { 1: "24 hours", 7: "7 days", 30: "30 days", 90: "90 days" };
    put(parts.uptime, card("Uptime", h("dl.tiles", windows.map(one => h("div", h("dt", name[one.days] || `${one.days} days`),
      h("dd", h("b", one.uptime === null ? "–" : percent(one.uptime)), h("span.soft", one.downSeconds ? `down ${duration(one.downSeconds * 1000)}` : one.uptime === null ? "not known" : "never down"))))),
    note && h("p.hint", note)));
  }

  // Never rounded up to 100: that is only for who was never down.
  const percent = share => share === 1 ? "100 %" : `${(Math.floor(share * 100_000) / 1000).toFixed(share > .99 ? 3 : 2).replace(/0+$/, "").replace(/\.$/, "")} %`;

  function paintRuns({ runs }) {
    put(parts.chart, card("Durations", chart(m, runs, run => app.go(`${at(m.id)}/runs/${run.id}`))));
    put(parts.runs, card("Runs", runs.length ? h("ul.runs-list", runs.slice(0, runRows).map(run =>
      h("li", h("a", { href: `${at(m.id)}/runs/${run.id}`, "aria-label": `Run ${run.id}, ${titled(run.state)}` }, badge(run.state), h("span", clock(run.startedAt, m.timezone)),
        h("span.soft", run.state === "running" ? time(run.startedAt, "elapsed", m.timezone) : run.durationMs === null ? "" : duration(run.durationMs)),
        h("span.message", [run.exitCode ? `exit code ${run.exitCode}` : "", run.message].filter(Boolean).join(" · ")), run.hasLog && h("span.tag", "log"))))) :
      h("p.soft", "No runs yet."),
    runs.length > runRows && button("Show more", () => {
      const next = runRows;
      runRows = runs.length;
      paintRuns({ runs });
      parts.runs.querySelectorAll("a")[next].focus();
    })));
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
    const page = await get(`${monitorPath(id, "log")}?limit=200&before=${entries.at(-1).at}`);
    entries.push(...page.entries);
    more = page.more;
    paintLog();
  }

  function paintLog() {
    put(parts.log, card("What happened", entries.length ? h("ol", grouped(entries).map(one => told(m, one))) :
      h("p.soft", "Nothing yet."),
    more && button("Show more", () => showOlder().catch(complain))));
  }

  function paintAside() {
    put(parts.next, card("Expected next", m.upcoming?.length ? [h("ol.times", m.upcoming.map(when =>
      h("li", stamp(ms(when), m.timezone, true), " ", h("span.soft", time(when, "due", m.timezone))))), h("p.hint", zoneName(m.timezone))] :
      h("p.soft", m.scheduleType === "none" ? "It has no schedule." : m.status === "new" ? "Its schedule begins with the first ping." : "Nothing is expected.")));
    put(parts.facts, card("About it", factList([["Schedule", schedule(m)],
      ["Expects", m.expects === "run" ? "any ping" : "a good end"], ["Longest run", m.maxRunSeconds && duration(m.maxRunSeconds * 1000)],
      ["Tolerates", m.failureTolerance > 0 && `${m.failureTolerance} failures in a row`], ["Reminds", m.reminderIntervalSeconds > 0 && `every ${duration(m.reminderIntervalSeconds * 1000)}`],
      ["Rules", m.rules.map(rule => `${rule.field} ${rule.operator} ${rule.value}`).join(", ")], ["Created", stamp(ms(m.createdAt), m.timezone, true)]]),
    m.notes && h("p.notes", m.notes)));
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
  function changed(name, given) {
    const words = JSON.stringify(given);
    if (seen[name] === words) return false;
    seen[name] = words;
    return true;
  }

  async function load() {
    const [fresh, runs, log, uptime] = await Promise.all([getMonitor(id), get(`${monitorPath(id, "runs")}?limit=${CHART_RUNS}`),
      get(`${monitorPath(id, "log")}?limit=${LOG_ROWS}`), get(`${monitorPath(id, "uptime")}?days=1&days=7&days=30&days=90`)]);
    m = fresh;
    paint();
    if (changed("runs", [runs, m.maxRunSeconds])) paintRuns(runs);
    if (changed("log", log)) keepLog(log);
    if (changed("uptime", uptime)) paintUptime(uptime);
    await paintTail(runs.runs);
    if (!pane?.goesOn) return;
    const { nodes, goesOn } = await runParts(m, pane.run);
    if (pane) put(Object.assign(pane, { goesOn }), nodes);
  }

  function paint() {
    if (changed("top", [m, stateOf(m)])) paintTop();
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
        if (location.hash.includes("/runs/")) history.replaceState(null, "", at(m.id));
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
  const node = h("div.monitor-page", spoken, parts.top, parts.live, parts.tail, parts.wait,
    h("div.columns", h("div", parts.chart, parts.runs, parts.log), h("aside", { "aria-label": "About this monitor" }, parts.uptime, parts.next, parts.facts, parts.handles)));
  return {
    title: m.name, node,
    moved(path) {
      const found = own.exec(path);
      if (found) openRun(found[1] && decodeURIComponent(found[1]));
      return Boolean(found);
    },
    async onPoll() {
      try {
        const fresh = await getMonitor(id);
        if (changed("m", fresh)) await load();
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
    app.go(at(m.id));
  };
  return { title: "Pause", node: h("section.card.narrow", h("h1", `Pause for ${words}?`),
    h("p", badge(stateOf(m)), " ", h("b", m.name), `: nobody is told of anything for ${words}.`),
    formOf(done, h("div.buttons", submit(`Pause for ${words}`),
      h("a.button", { href: at(m.id) }, "Show the monitor")))) };
}
