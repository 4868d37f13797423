// Making and changing a monitor: three fields first, the rare ones folded.

import { get, post, patch, monitorPath, query } from "./api.js";
import { h, add, put, field, choose, check, formOf, submit, entry, time, ms, stampIn } from "./dom.js";

const UNITS = [["1", "seconds"], ["60", "minutes"], ["3600", "hours"], ["86400", "days"]];
const COMPARISONS = [["lt", "<"], ["le", "≤"], ["gt", ">"], ["ge", "≥"], ["eq", "="], ["ne", "≠"]];

// A number and its unit; `read` answers seconds, null where it is empty, or what cannot be a number.
function seconds(name, value, least = 1) {
  const unit = [...UNITS].reverse().find(([size]) => Number(size) >= least && value && value % size === 0) || UNITS[value ? 0 : 1];
  const units = choose(UNITS, unit[0], { "aria-label": "Unit" });
  const input = entry(name, { inputmode: "decimal", value: value ? String(value / unit[0]) : value === 0 ? "0" : "" });
  const node = h("div.joined", input, units);
  node.read = () => {
    const text = input.value.trim(), number = Number(text);
    return text === "" ? null : Number.isFinite(number) ? Math.round(number * units.value * 1000) / 1000 : text;
  };
  return node;
}

const number = text => text.trim() === "" || !Number.isFinite(Number(text)) ? text.trim() || null : Number(text);

let zones;

function zoneList() {
  if (!document.getElementById("zones")) {
    zones ||= ["UTC", ...(Intl.supportedValuesOf?.("timeZone") || [])];
    document.body.append(h("datalist", { id: "zones" }, zones.map(zone => h("option", { value: zone }))));
  }
  return "zones";
}

// The schedule with its preview: in words, and the next five times in its own zone.
function schedulePart(m, changed) {
  const kind = choose([["interval", "Fixed interval"], ["cron", "Cron expression"], ["none", "No schedule: only failures count"]],
    m.scheduleType, { "data-name": "scheduleType", onchange: () => swap() });
  const interval = seconds("intervalSeconds", m.intervalSeconds || 86400, 60);
  const cron = entry("cronExpression", { value: m.cronExpression || "", placeholder: "0 3 * * *", spellcheck: "false", autocapitalize: "off", class: "mono" });
  const zone = entry("timezone", { value: m.timezone, list: zoneList(), spellcheck: "false" });
  const grace = seconds("graceSeconds", m.graceSeconds);
  const every = field("Interval", interval, "1 minute to 30 days"), times = field("Cron expression", cron, "minute hour day month weekday; or six fields with seconds first, or @daily");
  const zoned = field("Time zone", zone), gracious = field("Grace", grace, "How late it may be before you are told");
  const preview = h("div.preview", { "aria-live": "polite" });
  let timer, turn = 0;

  function swap() {
    every.hidden = kind.value !== "interval";
    times.hidden = zoned.hidden = kind.value !== "cron";
    gracious.hidden = kind.value === "none";
    look();
  }

  function look() {
    clearTimeout(timer);
    timer = setTimeout(show, 250);
  }

  async function show() {
    if (!node.isConnected) return;  // the form was left
    const mine = ++turn, wanted = read();
    if (kind.value === "none") return put(preview, h("p", "It is never late. You are told when it says that it failed, or does not end."));
    if (kind.value === "cron" && !wanted.cronExpression) return put(preview);
    let found;
    try {
      found = await get(`/api/v1/preview${query({ ...wanted, monitor: m.id })}`);
    } catch (error) {
      if (mine === turn) put(preview, h("p.error", error.sentence));
      return;
    }
    if (mine !== turn) return;
    put(preview, h("p", h("b", found.schedule), found.timezone && kind.value === "cron" ? ` (${found.timezone})` : ""),
      h("ol.times", found.times.map(({ expectedAt }) => h("li", stampIn(ms(expectedAt), found.timezone), " ", h("span.soft", time(expectedAt, "due"))))),
      h("p.soft", `You are told if there is no ping by ${stampIn(ms(found.times[0].alertAt), found.timezone)}.`));
  }

  function read() {
    const shared = { scheduleType: kind.value, timezone: zone.value.trim() };
    if (kind.value === "interval") return { ...shared, intervalSeconds: interval.read(), graceSeconds: grace.read() };
    if (kind.value === "cron") return { ...shared, cronExpression: cron.value.trim(), graceSeconds: grace.read() };
    return { scheduleType: "none" };
  }

  const node = h("div.schedule", { oninput: look, onchange: look }, field("Schedule", kind), every, times, zoned, gracious, preview);
  swap();
  return { node, read };
}

function rulesPart(rules) {
  const rows = h("div");
  const names = h("datalist", { id: "rule-names" }, ["exit_code", "duration_seconds", "rows_processed"].map(value => h("option", { value })));
  const row = ({ field: name = "", operator = "eq", value = "" }) => {
    const node = h("div.joined.rule",
      h("input", { value: name, list: "rule-names", "aria-label": "Field", placeholder: "rows_processed" }),
      choose(COMPARISONS, operator, { "aria-label": "Comparison" }),
      h("input", { value: String(value), inputmode: "decimal", "aria-label": "Value", placeholder: "0" }),
      h("button", { "aria-label": "Remove this rule", onclick: () => node.remove() }, "×"));
    return node;
  };
  add(rows, rules.map(row));
  return {
    node: h("div.field", { role: "group", "aria-label": "Failure rules", "data-name": "rules?" },
      h("span.label", "Failure rules"), names, rows,
      h("p.hint", "A run that went well but reports one of these is told as a silent failure: a number of the ping’s JSON or metrics, exit_code or duration_seconds."),
      h("button", { onclick: () => {
        const fresh = row({});
        rows.append(fresh);
        fresh.querySelector("input").focus();
      } }, "Add a rule")),
    read: () => [...rows.children].map(node => {
      const [name, sign, value] = node.querySelectorAll("input,select");
      return { field: name.value.trim(), operator: sign.value, value: number(value.value) };
    }),
  };
}

// Who is told: everybody who is by default, or those that are chosen.
function tellPart(integrations, linked) {
  const defaults = integrations.filter(one => one.default).map(one => one.id);
  const same = !linked || (linked.length === defaults.length && linked.every(id => defaults.includes(id)));
  const before = new Set(linked || defaults);
  const boxes = integrations.map(one => [one.id, check(`${one.name} (${one.channel}${one.enabled ? "" : ", switched off"})`, before.has(one.id))]);
  return {
    node: h("fieldset.field", { "data-name": "integrationIds" }, h("legend", "Who is told"),
      boxes.length ? boxes.map(([, box]) => box) : h("p.hint", "No notifications yet: there is no integration. ", h("a", { href: "#/integrations" }, "Add one"))),
    read() {
      const ids = boxes.filter(([, box]) => box.querySelector("input").checked).map(([id]) => id);
      const kept = ids.length === before.size && ids.every(id => before.has(id));
      return kept ? undefined : ids;
    },
    same,
  };
}

const fold = (title, open, ...children) => h("details.fold", { open }, h("summary", title), children);

const FRESH = { name: "", key: "", tags: "", notes: "", scheduleType: "cron", intervalSeconds: 86400, cronExpression: "0 3 * * *", graceSeconds: 300,
  expects: "run", maxRunSeconds: null, failureTolerance: 0, minPingIntervalSeconds: null, reminderIntervalSeconds: 0,
  emailAlertsEnabled: true, armed: false, rules: [] };

function monitorForm(m, integrations, send) {
  const isNew = !m.id;
  const name = entry("name", { value: m.name, placeholder: "Daily backup" });
  const schedule = schedulePart(m);
  const text = (named, value, attrs) => entry(named, { value: value === null ? "" : String(value), ...attrs });
  const key = text("key", m.key, { class: "mono", spellcheck: "false" });
  const tags = text("tags", m.tags);
  const notes = h("textarea", { "data-name": "notes", rows: "3", value: m.notes || "" });
  const expects = choose([["run", "Any ping is a sign of life"], ["complete", "Only a good end is a sign of life"]], m.expects, { "data-name": "expects" });
  const longest = seconds("maxRunSeconds", m.maxRunSeconds), tolerance = text("failureTolerance", m.failureTolerance, { inputmode: "numeric" });
  const spacing = seconds("minPingIntervalSeconds", m.minPingIntervalSeconds), reminder = seconds("reminderIntervalSeconds", m.reminderIntervalSeconds || null);
  const mail = check("Also tell everybody who is told by mail by default", m.emailAlertsEnabled, { "data-name": "emailAlertsEnabled" });
  const armed = check("Be told even if it never pings", m.armed, { "data-name": "armed" });
  const rules = rulesPart(m.rules), tell = tellPart(integrations, m.integrationIds);
  const body = () => {
    const rare = {
      key: key.value.trim(), tags: tags.value, notes: notes.value, expects: expects.value, maxRunSeconds: longest.read(),
      failureTolerance: number(tolerance.value) ?? 0, minPingIntervalSeconds: spacing.read(), reminderIntervalSeconds: reminder.read(),
      emailAlertsEnabled: mail.querySelector("input").checked, armed: armed.querySelector("input").checked,
      rules: rules.read(), integrationIds: tell.read() };
    if (isNew && !rare.key) delete rare.key;
    return { name: name.value, ...schedule.read(), ...rare };
  };
  const before = body();
  // What nobody touched is not sent: the server's own defaults hold, and nothing is changed twice.
  const changed = (given, always) => Object.fromEntries(Object.entries(given).filter(([named, value]) =>
    always.includes(named) || JSON.stringify(value) !== JSON.stringify(before[named])));
  return formOf(() => {
    const given = body();
    return send(changed(given, isNew ? ["name", ...Object.keys(schedule.read())] : []));
  },
    field("Name", name), schedule.node,
    fold("Details", !isNew, field("Tags", tags, "separated by spaces"), field("Key", key, "how programs and pings name it; made of the name where it is empty"), field("Notes", notes)),
    fold("Failure rules", !isNew && (m.expects !== "run" || m.maxRunSeconds || m.failureTolerance || m.rules.length > 0 || m.minPingIntervalSeconds || m.armed),
      field("Expects", expects), field("Longest run", longest, "a run that takes longer is stuck; empty: until its next deadline"),
      field("Tolerated failures in a row", tolerance), armed,
      field("Least time between pings", spacing, "pings that come sooner are dropped; empty: none is"), rules.node),
    fold("Notifications", !isNew && !tell.same, tell.node, mail, field("Remind every", reminder, "while it is down; empty: never")),
    h("div.buttons", submit(isNew ? "Create monitor" : "Save"),
      h("a.button", { href: isNew ? "#/" : `#/monitors/${m.id}` }, "Cancel")));
}

export function freshForm(app, integrations, done) {
  const zone = app.summary?.timezone || "UTC";
  return monitorForm({ ...FRESH, timezone: zone }, integrations, async given => done(await post("/api/v1/heartbeats", given)));
}

const integrationsNow = async () => (await get("/api/v1/integrations")).integrations;

export async function newPage(app) {
  app.summary ||= await get("/api/v1/summary?limit=1");
  const form = freshForm(app, await integrationsNow(), made => app.go(`#/monitors/${made.id}`));
  const node = h("div.narrow", h("h1", "New monitor"), h("section.card", form));
  return { title: "New monitor", node, focus: node.querySelector("input") };
}

export async function editPage(app, id) {
  const [m, integrations] = await Promise.all([get(monitorPath(id)), integrationsNow()]);
  const form = monitorForm(m, integrations, async given => {
    await patch(monitorPath(m.id), given);
    app.go(`#/monitors/${m.id}`);
  });
  return { title: `Edit ${m.name}`, node: h("div.narrow", h("h1", "Edit ", h("span", m.name)), h("section.card", form)) };
}
