// Integrations: where alerts go, how they do, and a test of each.

import { get, post, patch, del } from "./api.js";
import { h, put, ask, confirm, badge, time, say, field, formOf, choose, check, copyable, complain, submit, button, entry, fate } from "./dom.js";

// What a channel is called, an example of where it goes, and where one finds that.
const CHANNELS = {
  ntfy: ["ntfy", "https://ntfy.sh/my-cron-alerts-8271", "A topic that nobody guesses; subscribe to it in the app on your phone."],
  slack: ["Slack", "https://hooks.slack.com/services/T000/B000/XXXX", "Slack: Apps, Incoming Webhooks, Add to a channel."],
  discord: ["Discord", "https://discord.com/api/webhooks/000/XXXX", "Discord: the channel’s settings, Integrations, Webhooks."],
  email: ["Mail", "you@example.org", "Needs an SMTP server: --smtp-host of cronwatch serve."],
  webhook: ["Webhook", "https://example.org/hooks/cronwatch", "Gets each event as JSON, signed as Standard Webhooks has it."],
};

const channelName = channel => CHANNELS[channel]?.[0] || { command: "Command" }[channel] || channel;

// Header lines as people write them; a line that is none goes to the API, which says so.
const readHeaders = text => Object.fromEntries(text.split("\n").map(line => line.trim()).filter(Boolean).map(line => {
  const [name, ...value] = line.split(":");
  return [name.trim(), value.join(":").trim()];
}));

export function integrationForm(one, done) {
  const channel = choose(Object.entries(CHANNELS).map(([kind, [name]]) => [kind, name]), one.channel || "ntfy", { "data-name": "channel", autofocus: true, onchange: () => swap() });
  const name = entry("name", { value: one.name || "", autofocus: true });
  const url = entry("url", { type: "url", value: one.url || "" });
  const address = entry("address", { type: "email", value: one.address || "", placeholder: CHANNELS.email[1] });
  const lines = Object.entries(one.headers || {}).map(([header, value]) => `${header}: ${value}`).join("\n");
  const headers = h("textarea", { "data-name": "headers", rows: "2", value: lines, class: "mono", placeholder: "Authorization: Bearer …" });
  const everyone = check("Told of every monitor that does not name its own integrations", one.default ?? true, { "data-name": "default" });
  const hint = h("p.hint");
  const fields = { url: field("Address", url), address: field("Mail address", address), headers: field("Headers", headers, "one a line; none is needed for most") };
  const mails = () => channel.value === "email";
  function swap() {
    const [words, example, where] = CHANNELS[channel.value] || ["", "", ""];
    fields.address.hidden = !mails();
    fields.url.hidden = mails();
    fields.headers.hidden = mails() || !["webhook", "ntfy"].includes(channel.value) && !lines;
    url.placeholder = example;
    name.placeholder = words;
    put(hint, where);
  }
  swap();
  return formOf(async () => {
    const target = mails() ? { address: address.value.trim() } : { url: url.value.trim(), headers: readHeaders(headers.value) };
    const body = { name: name.value || name.placeholder, default: everyone.querySelector("input").checked, ...target };
    done(one.id ? await patch(`/api/v1/integrations/${one.id}`, body) : await post("/api/v1/integrations", { channel: channel.value, ...body }));
  }, !one.id && field("Kind", channel), field("Name", name), fields.url, fields.address, hint, fields.headers, everyone, submit(one.id ? "Save" : "Add integration"));
}

const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;  // for a shell

function stateOf({ enabled, failing, problem, lastDelivery: last }) {
  if (!enabled) return ["paused", "Off"];
  if (problem) return ["down", "Cannot send"];
  if (failing) return ["down", "Failing"];
  return { dead: ["down", "Undelivered"], pending: ["late", "Retrying"], sent: ["up", "Working"] }[last?.state] || ["new", "Not used yet"];
}

// What a button does: its error is said, and the list is made anew.
export const doing = (load, call) => async () => {
  try {
    const words = await call();
    if (words) say(words);
  } catch (error) {
    complain(error);
  }
  await load();
};

export const removing = (load, what, text, path) => doing(load, async () => {
  if (!await confirm(`Delete ${what}?`, text, "Delete", true)) return "";
  await del(path);
  return "Deleted";
});

// A test, and what came of it, in place.
export function testButton(id, result) {
  const test = button("Send a test", async () => {
    test.disabled = true;
    put(result, h("p.soft", "Sending…"));
    try {
      const { ok, result: words } = await post(`/api/v1/integrations/${id}/test`);
      put(result, h("p", badge(ok ? "up" : "down", ok ? "The test has arrived" : "The test has failed")), words && h("pre", { tabindex: "0" }, words));
    } catch (error) {
      if (!error.sentence) throw error;
      put(result, h("p.error", error.sentence));
    }
    test.disabled = false;
  });
  return test;
}

export async function integrationsPage() {
  const list = h("div");
  const edit = async one => { if (await ask(one.id ? `Edit ${one.name}` : "New integration", close => integrationForm(one, close))) await load(); };

  function row(one) {
    const path = `/api/v1/integrations/${one.id}`, last = one.lastDelivery, isCommand = one.channel === "command";
    const result = h("div", { role: "status" }), state = stateOf(one);
    const toggle = doing(load, async () => { await patch(path, { enabled: !one.enabled }); return one.enabled ? "Switched off" : "Switched on"; });
    const menu = h("details.menu", h("summary.button", { "aria-label": `More for ${one.name}` }, "…"), h("div", !isCommand && button("Edit", () => edit(one)), button(one.enabled ? "Switch off" : "Switch on", toggle),
      !isCommand && button("Delete", removing(load, one.name, "Alerts that wait for it are dropped.", path), { class: "bad" })));
    menu.addEventListener("click", event => { if (event.target.closest("button")) menu.open = false; });
    const how = last ? [`${last.kind.replace("_", " ")} `, time(last.at), `: ${fate({ ...last, tries: 1 })[1]}`, last.state !== "sent" && last.result && h("span.bad-text", ` – ${last.result}`)] : "nothing sent yet";
    return h("li.integration", badge(...state), h("div.what", h("b", one.name), h("span.soft", ` ${channelName(one.channel)}${one.default ? "" : ", only where chosen"}`), h("p.target", h("code", one.url || one.address || one.command || ""))),
      h("div.how.soft", one.problem ? h("p.bad-text", one.problem) : how, (one.pending > 0 || one.dead > 0) && h("p", [one.pending > 0 && `${one.pending} waiting`, one.dead > 0 && `${one.dead} undelivered`].filter(Boolean).join(", "))),
      h("div.buttons", testButton(one.id, result), menu),
      isCommand && h("details.rest", h("summary", "Change it"), h("p.hint", "Only the command line can change what runs on the server:"), copyable(`cronwatch integration remove ${quoted(one.name)}\ncronwatch integration add command ${quoted(one.name)} ${quoted(one.command || "COMMAND")}`)),
      one.secret && one.channel === "webhook" && h("details.rest", h("summary", "Signing secret"), copyable(one.secret)), result);
  }

  async function load() {
    const { integrations } = await get("/api/v1/integrations");
    put(list, h("section.card", integrations.length ? h("ul.integrations", integrations.map(row)) : [h("h2", "No notifications yet"),
      h("p", "An integration is where alerts go: ntfy, Slack, Discord, mail, a webhook, or a command on the server.")]));
  }

  await load();
  return { title: "Integrations", node: [h("div.head", h("h1", "Integrations"), button("New integration", () => edit({}), { class: "primary" })), list] };
}
