// Integrations, API keys, and how cronwatch itself does.

import { get, post, patch, del } from "./api.js";
import { h, put, ask, confirm, badge, shape, time, clock, stamp, duration, ms, say, field, formOf, choose, check, copyable, complain, card, submit, button, bytes, entry, fate } from "./dom.js";

const title = (text, ...more) => h("div.head", h("h1", text), more);

// What a button does: its error is said, and the list is made anew.
const doing = (load, call) => async () => {
  try {
    const words = await call();
    if (words) say(words);
  } catch (error) {
    complain(error);
  }
  await load();
};

const removing = (load, what, text, path) => doing(load, async () => {
  if (!await confirm(`Delete ${what}?`, text, "Delete", true)) return "";
  await del(path);
  return "Deleted";
});

// -- Integrations

const CHANNELS = [["webhook", "Webhook"], ["slack", "Slack"], ["discord", "Discord"], ["ntfy", "ntfy"], ["email", "Mail"]];

// Header lines as people write them; a line that is none goes to the API, which says so.
const readHeaders = text => Object.fromEntries(text.split("\n").map(line => line.trim()).filter(Boolean).map(line => {
  const [name, ...value] = line.split(":");
  return [name.trim(), value.join(":").trim()];
}));

function integrationForm(one, done) {
  const channel = choose(CHANNELS, one.channel || "webhook", { "data-name": "channel", autofocus: true, onchange: () => swap() });
  const name = entry("name", { value: one.name || "", autofocus: true });
  const url = entry("url", { type: "url", value: one.url || "", placeholder: "https://" });
  const address = entry("address", { type: "email", value: one.address || "" });
  const lines = Object.entries(one.headers || {}).map(([header, value]) => `${header}: ${value}`).join("\n");
  const headers = h("textarea", { "data-name": "headers", rows: "2", value: lines, class: "mono", placeholder: "Authorization: Bearer …" });
  const everyone = check("Told of every monitor that does not name its own integrations", one.default ?? true, { "data-name": "default" });
  const fields = { url: field("Address", url), address: field("Mail address", address), headers: field("Headers", headers, "one a line; none is needed for most") };
  const mails = () => channel.value === "email";
  function swap() {
    fields.address.hidden = !mails();
    fields.url.hidden = fields.headers.hidden = mails();
  }
  swap();
  return formOf(async () => {
    const target = mails() ? { address: address.value.trim() } : { url: url.value.trim(), headers: readHeaders(headers.value) };
    const body = { name: name.value, default: everyone.querySelector("input").checked, ...target };
    if (one.id) await patch(`/api/v1/integrations/${one.id}`, body);
    else await post("/api/v1/integrations", { channel: channel.value, ...body });
    done(true);
  }, !one.id && field("Kind", channel), field("Name", name), fields.url, fields.address, fields.headers, everyone, submit(one.id ? "Save" : "Add integration"));
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;  // for a shell

export async function integrationsPage(app) {
  const list = h("div");
  const edit = async one => { if (await ask(one.id ? `Edit ${one.name}` : "New integration", close => integrationForm(one, close))) await load(); };

  function shown(one) {
    const path = `/api/v1/integrations/${one.id}`, last = one.lastDelivery, isCommand = one.channel === "command";
    const state = !one.enabled ? ["paused", "Off"] : one.failing ? ["down", "Failing"] : last?.state === "dead" ? ["down", "Given up"] : last?.state === "pending" ? ["late", "Retrying"] : last ? ["up", "Working"] : ["new", "Not used yet"];
    const result = h("div", { role: "status" });
    const test = button("Test", async () => {
      test.disabled = true;
      put(result, h("p.soft", "Sending…"));
      try {
        const { ok, result: said } = await post(`${path}/test`);
        put(result, h("p", badge(ok ? "up" : "down", ok ? "The test has arrived" : "The test has failed")), said && h("pre", { tabindex: "0" }, said));
      } catch (error) {
        if (!error.sentence) throw error;
        put(result, h("p.error", error.sentence));
      }
      test.disabled = false;
    });
    const remove = removing(load, one.name, "Alerts that wait for it are dropped.", path);
    return h("section.card", { "aria-label": one.name }, h("div.head", h("div", h("h2", one.name),
      h("div.under", badge(...state), h("span.soft", one.channel), !one.default && h("span.soft", "only where chosen"))),
    h("div.buttons", test, button(one.enabled ? "Switch off" : "Switch on", doing(load, async () => { await patch(path, { enabled: !one.enabled }); return one.enabled ? "Switched off" : "Switched on"; })),
      !isCommand && button("Edit", () => edit(one)), !isCommand && button("Delete", remove, { class: "bad" }))),
    h("p.target", h("code", one.url || one.address || one.command || "")),
    isCommand && h("div.hint", "Only the command line can change what runs on the server:", copyable(`cronwatch integration remove ${quoted(one.name)}\ncronwatch integration add command ${quoted(one.name)} ${quoted(one.command || "COMMAND")}`)),
    last && h("p.soft", `Last: ${last.kind}, `, time(last.at), `, ${fate({ ...last, tries: 1 })[1]}`, last.state !== "sent" && last.result && [": ", h("span.bad-text", last.result)]),
    (one.pending > 0 || one.dead > 0) && h("p", [one.pending > 0 && `${one.pending} waiting`, one.dead > 0 && `${one.dead} given up`].filter(Boolean).join(", ")),
    one.secret && h("details", h("summary", "Signing secret"), copyable(one.secret)), result);
  }

  async function load() {
    const { integrations } = await get("/api/v1/integrations");
    put(list, integrations.length ? integrations.map(shown) : h("section.card", h("h2", "Nobody is told yet"),
      h("p", "An integration is where alerts go: a webhook, Slack, Discord, ntfy, mail, or a command on the server.")));
  }

  await load();
  return { title: "Integrations", node: [title("Integrations", button("New integration", () => edit({}), { class: "primary" })), list] };
}

// -- API keys

const PERMISSIONS = [["read-write", "Read and write: everything"], ["read-only", "Read only, without secrets"], ["ping", "Ping and register monitors"]];

function table(label, heads, rows) {
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": label }, h("table", null,
    h("thead", h("tr", heads.map(head => h("th", { scope: "col" }, head)), h("th", h("span.hidden", "Actions")))),
    h("tbody", rows.map(row => h("tr", row.map((cell, n) => h(n ? "td" : "th", n ? { "data-head": heads[n] || "" } : { scope: "row" }, cell)))))));
}

export async function keysPage() {
  const list = h("div"), fresh = h("div", { role: "status" });

  async function load() {
    const { keys } = await get("/api/v1/keys");
    put(list, keys.length ? table("API keys", ["Name", "Begins with", "May", "Created"], keys.map(one => [one.name, h("code", `${one.prefix}…`), one.permission, clock(one.createdAt),
      button("Delete", removing(load, `the key ${one.name}`, "Programs that use it are refused from then on.", `/api/v1/keys/${one.id}`), { class: "bad small", "aria-label": `Delete ${one.name}` })])) : h("section.card", h("p", "There is no key yet. With one, programs ping monitors by name, register them, and use the API.")));
  }

  const name = entry("name"), permission = choose(PERMISSIONS, "read-write", { "data-name": "permission" });
  const secret = entry("secret", { class: "mono" });
  const make = formOf(async () => {
    const made = await post("/api/v1/keys", { name: name.value, permission: permission.value, ...(secret.value && { secret: secret.value }) });
    name.value = secret.value = "";
    put(fresh, h("section.card.arrived", h("h2", `The key ${made.name}`), h("p", "It is shown this once: copy it now."), copyable(made.secret)));
    await load();
  }, field("Name", name), field("May", permission), h("details.fold", h("summary", "Adopt a key that scripts have already"), field("Secret", secret, "of the old service; empty: a new one is made")), submit("Create key"));
  await load();
  return { title: "API keys", node: h("div.narrow", title("API keys"), fresh, list, card("New key", make)) };
}

// -- Health

export async function healthPage() {
  const facts = h("div"), alerts = h("div");

  async function load() {
    const [health, { events }] = await Promise.all([get("/api/v1/health"), get("/api/v1/events?limit=20")]);
    const { outbox } = health;
    const tile = (name, value, soft, state) => h("div", h("dt", name), h("dd", h("b", state && shape(state), value), h("span.soft", soft)));
    put(facts, h("section.card", h("dl.tiles",
      tile("Last scan", health.scannedAt ? time(health.scannedAt) : "never", `every ${duration(health.scanSeconds * 1000)}`),
      tile("Alerts waiting", String(outbox.pending), outbox.overdue ? `${outbox.overdue} overdue` : "none overdue", outbox.overdue ? "late" : "up"),
      tile("Given up", String(outbox.dead), "in the last days", outbox.dead ? "down" : "up"),
      tile("Writing", health.refused ? "refused" : "works", bytes(health.databaseBytes), health.refused ? "down" : "up"),
      tile("Pings", String(health.pingsPerMinute), "in the last minute"), tile("Monitors", String(health.monitors), `cronwatch ${health.version}`),
      tile("Running since", time(health.startedAt), stamp(ms(health.startedAt), "", true)))),
    health.failing.length > 0 && card("Failing integrations", h("ul", health.failing.map(one =>
      h("li", badge("down", one.name), " ", h("span.bad-text", one.result || ""))))),
    card("When cronwatch was away", health.absences.length ? h("ul", health.absences.map(({ since, until }) =>
      h("li", clock(since, "", true), ` for ${duration(ms(until) - ms(since))}`))) : h("p.soft", "It has always been here.")));
    put(alerts, card("Last alerts", events.length ? h("ol", events.map(one => h("li.entry",
      h("span.at", clock(one.at)), one.monitor ? h("a", { href: `#/monitors/${one.monitor.id}` }, one.summary) : h("span", one.summary),
      h("span.at-end", one.deliveries.length ? one.deliveries.map(sent => h("span.delivery", { title: sent.result || "" }, shape(fate(sent)[0]), `${sent.name}: ${fate(sent)[1]}`)) : h("span.soft", "nobody was told"))))) : h("p.soft", "There has been no alert.")));
  }

  await load();
  let polls = 0;
  return { title: "Health", node: [title("Health"), facts, alerts], async onPoll() { if (++polls % 5 === 0) await load().catch(() => {}); } };
}
