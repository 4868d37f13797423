// The frame around the pages: address, sign-in, polling, keyboard, banner and footer.

import { get, patch, del, hooks, openSession, forget } from "./api.js";
import { h, put, ask, say, formOf, field, tickTimes, setText, setMonitorZone, usesMonitorZone, submit, time, ms, bytes, relative, counted } from "./dom.js";
import { listPage } from "./list.js";

const LOOKED_AT_MS = 120_000, SOON_MS = 2000, LATER_MS = 10_000;
const $ = id => document.getElementById(id);

export const app = {
  summary: null,
  user: null,
  refresh: () => poll(true),
  go: address => { location.hash = address; },
  retitle,
};

// -- Address

const lazily = (file, name) => async (...given) => (await import(file))[name](app, ...given);

const PAGES = [
  [/^\/$/, params => listPage(app, params)],
  [/^\/new$/, lazily("./edit.js", "newPage")],
  [/^\/monitors\/([^/]+)\/edit$/, lazily("./edit.js", "editPage")],
  [/^\/monitors\/([^/]+)\/pause\/([0-9]+)$/, lazily("./monitor.js", "pausePage")],
  [/^\/monitors\/([^/]+)(?:\/runs\/([^/]+))?$/, lazily("./monitor.js", "monitorPage")],
  [/^\/activity$/, lazily("./activity.js", "activityPage")],
  [/^\/integrations$/, lazily("./integrations.js", "integrationsPage")],
  [/^\/settings$/, lazily("./settings.js", "settingsPage")],
  [/^\/link\/(.+)$/, linkPage],
];

let view = null, routed = 0, address = "#/";

async function route() {
  const [path, words] = (location.hash.slice(1) || "/").split("?");
  const link = /^\/link\/(.+)$/.exec(path);
  if (link && signing) return signing.offer(decodeURIComponent(link[1]));
  const turn = ++routed;
  if (!link) address = location.hash || "#/";
  if (view?.moved?.(path)) return;  // a page within the page: its own affair
  document.querySelectorAll("dialog:not(.sign-in)").forEach(box => box.close());
  for (const [pattern, open] of PAGES) {
    const found = pattern.exec(path);
    if (!found) continue;
    const [, ...parts] = found.map(part => part && decodeURIComponent(part));
    let next;
    try {
      next = await open(...parts, new URLSearchParams(words));
    } catch (error) {
      next = trouble(error);
    }
    if (turn !== routed) return next.close?.();
    return show(next, path);
  }
  show({ title: "Nothing here", node: [h("h1", "Nothing here"), back()] }, path);
}

const back = () => h("p", h("a", { href: "#/" }, "Back to the monitors"));

function trouble(error) {
  const lost = !error.status;  // the page comes once the server does
  if (lost && !error.sentence) console.error(error);
  return { title: "Sorry", lost, node: [h("h1", error.status === 404 ? "Not found" : "This did not work"),
    h("p.lead", error.sentence || "The page could not be shown."), back()] };
}

function show(next, path) {
  const first = !view;
  view?.close?.();
  view = next;
  put($("main"), view.node);
  for (const link of document.querySelectorAll("nav a")) {
    const own = link.getAttribute("href").slice(1);
    const here = own === "/" ? path === "/" || path.startsWith("/monitors") || path === "/new" : path === own;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  if (!first) {
    scrollTo(0, 0);
    const head = $("main").querySelector("h1");
    head?.setAttribute("tabindex", "-1");
    (view.focus || head || $("main")).focus({ preventScroll: true });
  }
  if (app.summary && view.onSummary && view.summaryPath === undefined) view.onSummary(app.summary);
  retitle();
  poll(true);
}

// -- Polling: /api/v1/summary with its ETag; nothing while the page is hidden

let timer, polling = false, again = false, touched = Date.now(), away = false, misses = 0;

async function poll(soon) {
  clearTimeout(timer);
  if (polling) {
    again = again || soon;
    return;
  }
  if (view?.still) return;
  polling = true;
  const asked = view;
  try {
    const summary = await get(asked?.summaryPath?.() || "/api/v1/summary?limit=1");
    const same = summary === app.summary;
    app.summary = summary;
    if (!app.user) findUser();
    if (asked === view) {
      if (!same || !view?.seen) view?.onSummary?.(summary);
      if (view) view.seen = true;
      await view?.onPoll?.(summary);
    }
    if (!same) frame();
  } catch (error) {
    if (!error.sentence) throw error;
    if (error.status) say(error.sentence, true);
  } finally {
    polling = false;
    later();
  }
}

function later() {
  clearTimeout(timer);
  if (document.hidden) return;
  const looked = Date.now() - touched < LOOKED_AT_MS || app.summary?.counts.running;
  timer = setTimeout(poll, again ? 0 : away ? Math.min(1000 * ++misses, LATER_MS) : looked ? SOON_MS : LATER_MS);
  again = false;
}

hooks.reached = reached => {
  if (reached !== away) return;
  away = !reached;
  misses = 0;
  frame();
  if (!reached) return;
  say("Connected again");
  if (view?.lost) route();
};

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return clearTimeout(timer);
  touched = Date.now();
  tick();
  poll(true);
});
for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) {
  addEventListener(kind, () => {
    const rested = Date.now() - touched > LOOKED_AT_MS;
    touched = Date.now();
    if (rested) poll(true);
  }, { passive: true });
}

function tick() {
  if (document.hidden) return;
  tickTimes();
  view?.onTick?.();
}
setInterval(tick, 1000);

// -- Sign-in: over the page, which is still there when it is done

let signing = null;  // the dialog, while it is open: who waits for it, and what a link does there

hooks.signIn = () => (signing ||= signInDialog()).done;

function signInDialog() {
  let finish;
  const done = new Promise(resolve => { finish = resolve; });
  const name = h("input", { name: "name", autocomplete: "username", autofocus: true, "data-name": "name" });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password" });
  const again = Boolean(app.user);
  if (again) name.value = app.user.name;
  const send = async body => {
    signedIn(await openSession(body));
    signing = null;
    box.close();
    box.remove();
    finish();
    if (body.link && !app.user.hasPassword) offerPassword();
  };
  const ways = h("div", formOf(() => send({ name: name.value, password: password.value }),
    field("Name", name), field("Password", password), submit("Sign in", "primary wide")));
  const box = h("dialog.sign-in", { "aria-label": "Sign in", onclose: () => signing && box.showModal() },
    h("h1", "cronwatch"),
    h("p.soft", again ? "Your session has ended. Sign in to go on where you were." : "Sign in to see your monitors."),
    ways,
    h("details.soft", h("summary", "No account, or password lost?"),
      h("p", "On the machine that runs cronwatch, make an account, or a link that signs in once:"),
      h("pre", h("code", "cronwatch user add NAME\ncronwatch user link NAME"))));
  document.body.append(box);
  box.showModal();
  (again ? password : name).focus();
  return { done, offer(secret) {  // a link was pasted into the address of this very tab
    history.replaceState(null, "", address);
    const button = submit("Sign in", "primary wide");
    put(ways, h("p", "This link signs you in once, on this browser."), formOf(() => send({ link: secret }), button));
    button.focus();
  } };
}

function signedIn(session) {
  app.user = session.user;
  frame();
}

async function findUser() {
  app.user = { name: "" };
  signedIn(await get("/api/v1/session").catch(() => ({ user: null })));
}

// A link from the command line signs in on a click only: previews of links must not use it up.
function linkPage(secret) {
  history.replaceState(null, "", address = "#/");
  return { title: "Sign in", still: true, node: h("section.card.narrow",
    h("h1", "Sign in"),
    h("p", "This link signs you in once, on this browser."),
    formOf(async () => {
      const session = await openSession({ link: secret });
      signedIn(session);
      view = null;
      route();
      if (!session.user.hasPassword) offerPassword();
    }, submit("Sign in"))) };
}

// Who came by a link would need another one the next time.
function offerPassword() {
  const password = h("input", { type: "password", autocomplete: "new-password", autofocus: true, "data-name": "password" });
  ask("Set a password?", close => formOf(async () => {
    await patch("/api/v1/session", { password: password.value });
    close(true);
    say("From now on this password signs you in");
  }, field("New password", password, "8 characters or more; without one only links sign you in"), submit("Set password")));
}

$("signout").addEventListener("click", async () => {
  await del("/api/v1/session").catch(() => {});
  forget();
  app.user = app.summary = null;
  view?.close?.();
  view = { still: true };
  put($("main"));
  history.replaceState(null, "", "#/");
  frame();
  await hooks.signIn();
  view = null;
  route();
});

// -- Frame

const scanned = time(0);

hooks.scanned = at => {
  Object.assign(scanned, { at: ms(at), dateTime: at });
  setText(scanned, relative(scanned.at));
};

const listed = names => names.length > 3 ? `${names.slice(0, 3).join(", ")} and ${names.length - 3} more` : names.join(" and ");

function banners() {
  if (away) return [h("div.banner.warn", h("b", "Reconnecting…"), " The server does not answer. What you see is how things were.")];
  const health = app.summary?.health;
  if (!health) return [];
  const notes = [], bad = (...words) => notes.push(h("div.banner.bad", words));
  if (health.refused) bad(h("b", "Nothing can be written. "), "The disk may be full or read-only: pings are refused until there is room.");
  if (!health.scanning) bad(h("b", "Nobody is watching. "), "The last scan for what fell due is too long ago.");
  if (health.failing.length) {
    bad(h("b", "Alerts do not arrive: "), `${listed(health.failing)} cannot be reached. `,
      h("a", { href: "#/integrations" }, "Look at the integrations"));
  } else if (health.dead) {
    bad(h("b", `${counted(health.dead, "alert")} could not be delivered. `), h("a", { href: "#/activity" }, "See which"));
  }
  return notes;
}

let framed = "";

function frame() {
  const { summary } = app;
  const state = JSON.stringify([away, summary?.health, summary?.version, app.user?.name, Boolean(summary)]);
  retitle();
  if (state === framed) return;
  framed = state;
  put($("banner"), banners());
  $("signout").hidden = !app.user;
  $("signout").title = app.user?.name ? `Signed in as ${app.user.name}` : "";
  if (!summary) return put($("footer"));
  const { pending, dead, failing, databaseBytes } = summary.health;
  put($("footer"), h("span", "Last scan ", scanned), h("span", `${pending ? counted(pending, "alert") : "no alert"} waiting`),
    h("span", failing.length ? `${listed(failing)} failing` : dead ? `${dead} undelivered` : "none undelivered"),
    h("span", bytes(databaseBytes)), h("span", `cronwatch ${summary.version}`));
}

function retitle() {
  const counts = app.summary?.counts;
  const troubles = counts ? ["down", "late"].filter(name => counts[name]).map(name => `${counts[name]} ${name}`) : [];
  const title = [away ? "reconnecting" : troubles.join(", "), view?.title, "cronwatch"].filter(Boolean).join(" · ");
  if (document.title !== title) document.title = title;
  const icon = away || !counts ? "idle" : counts.down ? `down-${Math.min(counts.down, 10)}` :
    counts.late ? "late" : counts.up ? "up" : "idle";
  const address = `static/icon-${icon}.svg`;
  if ($("icon").getAttribute("href") !== address) $("icon").setAttribute("href", address);
}

function showZone() {
  setText($("zone"), usesMonitorZone() ? "Times: monitor’s zone" : "Times: my zone");
}

$("zone").addEventListener("click", () => {
  setMonitorZone(!usesMonitorZone());
  showZone();
  if (view?.still || view?.written) return;  // what somebody has typed is worth more
  view?.close?.();
  view = null;
  route();
});

$("main").addEventListener("input", ({ target }) => { if (target.form) view.written = true; });

// -- Keyboard

const KEYS = [["/", "search"], ["n", "new monitor"], ["↓ or j", "next monitor"], ["↑ or k", "previous monitor"],
  ["Enter", "open it"], ["x", "select it"], ["g", "back to the list"], ["?", "this help"], ["Escape", "close, or leave the search"]];

const help = () => ask("Keyboard", () => h("dl.keys", KEYS.map(([key, words]) => h("div", h("dt", h("kbd", key)), h("dd", words)))));

$("help").addEventListener("click", help);

addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.matches?.("input:not([type=checkbox]), textarea, select");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "?") help();
  else if (event.key === "n") app.go("#/new");
  else if (event.key === "g") app.go("#/");
  else if (event.key === "/") {
    if (view?.search) view.search.focus();
    else { app.searching = true; app.go("#/"); }
  } else if (!view?.onKey?.(event)) return;
  event.preventDefault();
});

document.querySelector(".skip").addEventListener("click", event => {
  event.preventDefault();
  $("main").focus();
});

addEventListener("hashchange", route);
showZone();
route();
