// Settings: your account, API keys, and how the server does.

import { get, post, patch } from "./api.js";
import { h, put, badge, shape, time, clock, stamp, duration, ms, say, field, formOf, choose, copyable, card, submit, button, bytes, entry } from "./dom.js";
import { removing } from "./integrations.js";

function table(label, heads, rows) {
  return h("div.scroll", { tabindex: "0", role: "region", "aria-label": label }, h("table",
    h("thead", h("tr", heads.map(head => h("th", { scope: "col" }, head)), h("th", h("span.hidden", "Actions")))),
    h("tbody", rows.map(row => h("tr", row.map((cell, n) => h(n ? "td" : "th", n ? { "data-head": heads[n] || "" } : { scope: "row" }, cell)))))));
}

// -- Your account

function accountCard(app) {
  const password = entry("password", { type: "password", autocomplete: "new-password" });
  return h("section.card", h("h2", "Your account"), h("p", "Signed in as ", h("b", app.user?.name || "…"), "."),
    h("details.fold", h("summary", "Change the password"), formOf(async () => {
      await patch("/api/v1/session", { password: password.value });
      password.value = "";
      say("The password is changed; your other sessions have ended");
    }, h("input", { hidden: true, autocomplete: "username", value: app.user?.name || "" }), field("New password", password, "8 characters or more"), submit("Change it", ""))),
    h("p.hint", "Others are added on the command line: ", h("code", "cronwatch user add NAME")));
}

// -- API keys

const PERMISSIONS = [["read-write", "Read and write: everything"], ["read-only", "Read only, without secrets"], ["ping", "Ping and register monitors"]];

function keysCard() {
  const list = h("div"), fresh = h("div", { role: "status" });

  async function load() {
    const { keys } = await get("/api/v1/keys");
    put(list, keys.length ? table("API keys", ["Name", "Begins with", "Permission", "Created"], keys.map(one => [one.name, h("code", `${one.prefix}…`), one.permission, clock(one.createdAt),
      button("Delete", removing(load, `the key ${one.name}`, "Programs that use it are refused from then on.", `/api/v1/keys/${one.id}`), { class: "bad small", "aria-label": `Delete ${one.name}` })])) :
      h("p.soft", "No key yet. With one, programs ping monitors by name, register them, and use the API."));
  }

  const name = entry("name"), permission = choose(PERMISSIONS, "read-write", { "data-name": "permission" });
  const secret = entry("secret", { class: "mono" });
  const make = formOf(async () => {
    const made = await post("/api/v1/keys", { name: name.value, permission: permission.value, ...(secret.value && { secret: secret.value }) });
    name.value = secret.value = "";
    put(fresh, h("section.card.arrived", h("h3", `The key ${made.name}`), h("p", "It is shown this once: copy it now."), copyable(made.secret)));
    await load();
  }, field("Name", name), field("Permission", permission), h("details.fold", h("summary", "Adopt a key that scripts have already"), field("Secret", secret, "of the old service; empty: a new one is made")), submit("Create key"));
  return { load, node: h("section.card", { id: "keys" }, h("h2", "API keys"), fresh, list, h("details.fold", h("summary", "New key"), make)) };
}

// -- The server

function serverCard() {
  const node = h("section.card", { id: "server" });

  async function load() {
    const health = await get("/api/v1/health"), { outbox } = health;
    const tile = (name, value, soft, state) => h("div", h("dt", name), h("dd", h("b", state && shape(state), value), h("span.soft", soft)));
    put(node, h("h2", "Server"), h("dl.tiles",
      tile("Last scan", health.scannedAt ? time(health.scannedAt) : "never", `every ${duration(health.scanSeconds * 1000)}`),
      tile("Alerts waiting", String(outbox.pending), outbox.overdue ? `${outbox.overdue} overdue` : "none overdue", outbox.overdue ? "late" : "up"),
      tile("Undelivered", String(outbox.dead), "in the last 7 days", outbox.dead ? "down" : "up"),
      tile("Writing", health.refused ? "refused" : "works", bytes(health.databaseBytes), health.refused ? "down" : "up"),
      tile("Pings", String(health.pingsPerMinute), "in the last minute"), tile("Monitors", String(health.monitors), `cronwatch ${health.version}`),
      tile("Running since", time(health.startedAt), stamp(ms(health.startedAt), ""))),
    health.failing.length > 0 && [h("h3", "Failing integrations"), h("ul", health.failing.map(one =>
      h("li", badge("down", one.name), " ", h("span.bad-text", one.result || ""))))],
    h("h3", "When cronwatch was away"), health.absences.length ? h("ul.absences", health.absences.map(({ since, until }) =>
      h("li", clock(since), ` for ${duration(ms(until) - ms(since))}`))) : h("p.soft", "Never."));
  }

  return { load, node };
}

export async function settingsPage(app) {
  app.user ||= (await get("/api/v1/session")).user;
  const keys = keysCard(), server = serverCard();
  await Promise.all([keys.load(), server.load()]);
  let polls = 0;
  return { title: "Settings", node: h("div.narrow", h("h1", "Settings"), accountCard(app), keys.node, server.node),
    async onPoll() { if (++polls % 5 === 0) await server.load().catch(() => {}); } };
}
