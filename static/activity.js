// Activity: the events of all monitors, newest first, and what was told to whom.

import { get, query } from "./api.js";
import { h, put, badge, time, ms, choose, button, complain } from "./dom.js";
import { byDay, deliveryWords, eventWords } from "./monitor.js";

const KINDS = { missed: ["down", "Missed"], failed: ["down", "Failed"], stuck: ["down", "Stuck"], silent_failure: ["late", "Rule"], recovered: ["up", "Recovered"],
  reminder: ["down", "Reminder"], outage: ["unknown", "Away"], delivery_failed: ["late", "Undelivered"], test: ["new", "Test"] };
const PAGE = 50;

function row(one) {
  const { kind, monitor, deliveries } = one, [state, word] = KINDS[kind] || ["unknown", kind];
  const name = monitor && h("a.name", { href: `#/monitors/${monitor.id}` }, monitor.name);
  return h("li.entry", h("span.at", time(ms(one.at), "hour")), badge(state, word), h("span.facts-line", name, name && (kind === "missed" ? ": " : " "), h("span", eventWords(one))), deliveryWords(deliveries));
}

export async function activityPage() {
  const list = h("div"), kinds = choose([["", "All events"], ...Object.entries(KINDS).map(([kind, [, word]]) => [kind, word])], "", { "aria-label": "Kind", onchange: () => load() });
  let limit = PAGE, before = "";

  async function load() {
    const { events, total } = await get(`/api/v1/events${query({ limit: Math.min(200, limit), kind: kinds.value })}`);
    const state = JSON.stringify(events);
    if (state === before) return;
    before = state;
    put(list, h("section.card", events.length ? byDay(events, row, "", "h2") : h("p.soft", kinds.value ? "No such event." : "Nothing has happened yet. What is missed, fails or recovers is listed here, with who was told."),
      total > events.length && events.length < 200 && button("Show more", () => { limit += PAGE; load().catch(complain); })));
  }

  await load();
  return { title: "Activity", node: [h("div.head", h("h1", "Activity"), kinds), list], onPoll: () => load().catch(error => { if (!error.sentence) throw error; }) };
}
