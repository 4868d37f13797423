// A page to hang on the wall: what has a tag, without signing in. It is at /status/TAG.

import { h, put, badge, time, ms, heardClock, tickTimes } from "./dom.js";
import { strip, percent } from "./strip.js";

const EACH_MS = 15_000;
const tag = decodeURIComponent(location.pathname.split("/").pop());
const main = document.getElementById("main");
let last = null;

function headline(monitors) {
  const down = monitors.filter(one => one.state === "down").length, late = monitors.filter(one => one.state === "late").length;
  if (!down && !late) return [badge("up", " "), "All is well"];
  return [badge(down ? "down" : "late", " "), [down && `${down} down`, late && `${late} late`].filter(Boolean).join(" · ")];
}

function card({ name, state, since, uptime, strip: slots }) {
  return h("li.card", { class: `is-${state}` }, badge(state), h("b", name), h("span.soft", percent(uptime)), strip(slots),
    h("span"), h("span.soft", state === "down" || state === "paused" ? [state, " ", since ? time(since, "since") : ""] : state));
}

function show({ monitors }) {
  put(main, h("h1.wall-title", headline(monitors)), monitors.length ? h("ul.wall", monitors.map(card)) : h("p.soft", "Nothing has this tag."));
  const down = monitors.filter(one => one.state === "down").length;
  document.title = `${down ? `${down} down · ` : ""}${tag}`;
  document.getElementById("icon").href = `../static/icon-${down ? `down-${Math.min(down, 10)}` : monitors.some(one => one.state === "late") ? "late" : "up"}.svg`;
}

async function load() {
  try {
    const reply = await fetch(`../api/v1/status/${encodeURIComponent(tag)}`, { cache: "no-store" });
    heardClock(reply.headers.get("Date"));
    if (!reply.ok) return put(main, h("h1", reply.status === 404 ? "There is no such page" : `The server answered ${reply.status}`));
    last = await reply.json();
    show(last);
  } catch {
    if (!main.querySelector(".banner")) main.prepend(h("div.banner.warn", { role: "status" }, h("b", "Reconnecting…"), last ? [" What you see is how things were ", time(ms(last.at), "ago"), "."] : ""));
  }
  return null;
}

load();
setInterval(() => { if (!document.hidden) load(); }, EACH_MS);
setInterval(() => tickTimes(), 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) load(); });
