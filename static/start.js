// The first start, in three steps: a job or the crontab, its line, who is told.

import { get, post, monitorPath } from "./api.js";
import { h, put, badge, clock, copyable, formOf, submit, button, counted, complain } from "./dom.js";
import { freshForm } from "./edit.js";
import { pingLines, wrappedLine } from "./lines.js";
import { integrationForm, testButton } from "./integrations.js";

const WORDS = /^@(hourly|daily|midnight|weekly|monthly|yearly|annually)$/;

// The jobs of a crontab as people paste it: schedule and command. What is none is left out, as is
// @reboot; `cronwatch import crontab` on the command line knows the rest (zones, users, wrappers).
export function readCrontab(text) {
  const jobs = [];
  for (const line of text.split("\n")) {
    const match = /^\s*(@\w+|(?:[\d*][^\s]*\s+){3}\S+\s+\S+)\s+(\S.*)$/.exec(line);
    if (!match || match[1].startsWith("@") && !WORDS.test(match[1])) continue;
    const [, when, command] = match;
    const program = command.split(/\s+/).find(word => !/^\w+=/.test(word)) || command;
    jobs.push({ line, cron: when.replace(/\s+/g, " "), command, name: program.split("/").pop().slice(0, 60) });
  }
  return jobs;
}

export function startPart(app, leave) {
  const steps = ["A job", "Its line", "Who is told"].map((words, n) => {
    const body = h("div");
    return { body, node: h("li.card.step", { "aria-current": n ? null : "step" }, h("h2", h("span.number", String(n + 1)), " ", words), body) };
  });
  const go = h("div.buttons");
  const node = h("div.narrow.start", h("h1", "Know when a job stops running"),
    h("p.lead", "Each job tells cronwatch that it ran, with one small HTTP request. Where a job fails, is late or goes silent, you are told."),
    h("ol", steps.map(step => step.node)), go);
  let monitor = null, news = null;  // the first one, and where its first ping is told

  function move(n) {
    steps.forEach(({ node: step }, k) => {
      if (k === n) step.setAttribute("aria-current", "step"); else step.removeAttribute("aria-current");
      step.classList.toggle("done", k < n);
    });
  }

  // -- 1

  function crontabForm() {
    const text = h("textarea", { rows: "6", class: "mono", "aria-label": "Your crontab", placeholder: "0 3 * * *  /opt/backup.sh\n*/15 * * * *  mail-fetch", spellcheck: "false" });
    const found = h("p.hint", { role: "status" });
    text.addEventListener("input", () => put(found, counted(readCrontab(text.value).length, "job"), " found"));
    return formOf(async () => {
      const jobs = readCrontab(text.value);
      if (!jobs.length) return put(found, "No line in it is a job: minute hour day month weekday command");
      const made = [];
      for (const job of jobs) {
        made.push([job, await post("/api/v1/heartbeats", { name: job.name, scheduleType: "cron", cronExpression: job.cron, timezone: app.summary?.timezone || "UTC" })]);
      }
      return created(made[0][1], made);
    }, h("p.hint", "The output of ", h("code", "crontab -l"), ": each line becomes a monitor with its schedule."), text, found, submit("Watch these jobs"));
  }

  async function first() {
    const { integrations } = await get("/api/v1/integrations");
    const place = h("div");
    const show = kind => put(place, kind === "crontab" ? crontabForm() : freshForm(app, integrations, created));
    const ways = h("fieldset.radios", h("legend.hidden", "Begin with"), [["job", "One job"], ["crontab", "My crontab"]].map(([value, words], n) => {
      const input = h("input", { type: "radio", name: "begin", value, onchange: () => show(value) });
      input.checked = !n;
      return h("label.radio", input, h("span", words));
    }));
    show("job");
    put(steps[0].body, ways, place);
    put(steps[1].body, h("p.soft", "The line that tells cronwatch of the job comes here."));
    put(steps[2].body, h("p.soft", "Where alerts go: your phone, a chat, mail."));
  }

  // -- 2

  async function created(first, made = null) {
    monitor = await get(monitorPath(first.id));
    put(steps[0].body, h("p", badge("up", made ? `${counted(made.length, "job")} watched` : monitor.name)));
    news = h("p", { role: "status" }, h("span.pulse"), "Waiting for the first ping…");
    put(steps[1].body, made ? [h("p", "Your crontab, with ", h("code", "cronwatch-exec"), " around each job:"), copyable(made.map(([job, one]) => wrappedLine(job, one)).join("\n")), pingLines(monitor)] : pingLines(monitor), h("h3", "Waiting for the first ping"), news);
    move(1);
    await third();
    put(go, button("Go to the monitors", leave, { class: "primary" }));
  }

  // -- 3

  async function third() {
    const { integrations } = await get("/api/v1/integrations"), result = h("div", { role: "status" });
    const ready = one => put(steps[2].body, h("p", badge("up", one.name)), testButton(one.id, result), result, move(2));
    if (integrations.length) return put(steps[2].body, h("p", badge("up", integrations.map(one => one.name).join(", "))), testButton(integrations[0].id, result), result);
    return put(steps[2].body, integrationForm({}, ready));
  }

  first().catch(complain);
  return { node, isBegun: () => monitor !== null,
    async onPoll() {
      if (!monitor || monitor.lastPingAt) return;
      monitor = await get(monitorPath(monitor.id));
      if (monitor.lastPingAt) put(news, badge("up", "The first ping has arrived"), " ", clock(monitor.lastPingAt));
    } };
}
