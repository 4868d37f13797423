// The lines that ping a monitor, in the words of every service that cronwatch understands.

import { h, put, copyable } from "./dom.js";

const LOCAL = /^(localhost|127\.|0\.0\.0\.0|\[::1?\])/;

// The server's own address, or the browser's where the server knows only its loopback.
function baseOf(m) {
  const base = m.pingUrl.slice(0, -m.token.length - 1);
  return LOCAL.test(new URL(base).hostname) && !LOCAL.test(location.hostname) ? `${location.origin}${location.pathname.replace(/\/$/, "")}` : base;
}

function fields({ cronExpression: cron, intervalSeconds: seconds, scheduleType: kind }) {
  if (kind === "cron") return cron.split(/\s+/).length > 5 ? cron.split(/\s+/).slice(1).join(" ") : cron;
  if (kind !== "interval" || seconds < 60) return "0 3 * * *";
  if (seconds < 3600) return `*/${Math.round(seconds / 60)} * * * *`;
  return seconds < 86400 ? `0 */${Math.max(1, Math.round(seconds / 3600))} * * *` : "0 3 * * *";
}

const CURL = "curl -fsS -m 10 --retry 5 -o /dev/null";
const each = (line, ...words) => words.map(line).join("\n");

const LINES = [
  ["exec", "cronwatch-exec", ({ base, token, m }) => `# once, on the machine of the job
curl -fsS -o cronwatch-exec ${base}/cronwatch-exec && chmod +x cronwatch-exec
sudo mv cronwatch-exec /usr/local/bin/

# in its crontab: start, end, exit code, duration and output are told
${fields(m)}  cronwatch-exec ${token} -- /path/to/job`],
  ["curl", "Plain curl", ({ ping, token }) => `# at the end of the job
${CURL} ${ping}

# or around it: how long it took, how it ended, and what it printed
${CURL} ${token}/start
out=$(/path/to/job 2>&1); code=$?
${CURL} --data-raw "$out" ${token}/$code`],
  ["crontab", "crontab", ({ token, m }) => `${fields(m)}  ${CURL} ${token}/start; /path/to/job; ${CURL} ${token}/$?`],
  ["systemd", "systemd unit", ({ token }) => `[Service]
Type=oneshot
ExecStartPre=-/usr/bin/${CURL} ${token}/start
ExecStart=/path/to/job
ExecStopPost=-/bin/sh -c '[ "$$SERVICE_RESULT" = success ] || f=/fail; ${CURL} ${token}$$f'`],
  ["python", "Python", ({ token }) => `from urllib.request import urlopen

urlopen("${token}/start", timeout=10)
try:
    job()
except Exception as error:
    urlopen("${token}/fail", str(error).encode(), timeout=10)
    raise
urlopen("${token}", timeout=10)`],
  ["node", "Node", ({ token }) => `const ping = (path = "", body) =>
  fetch("${token}" + path, { method: "POST", body }).catch(() => {});

await ping("/start");
try {
  await job();
  await ping();
} catch (error) {
  await ping("/fail", String(error));
  throw error;
}`],
  ["cronbeats", "CronBeats", ({ base, code }) => `curl -X POST ${base}/ping/${code}/start
curl -X POST ${base}/ping/${code}/end/success
curl -X POST ${base}/ping/${code}/end/fail
curl -X POST ${base}/ping/${code}/progress/50 -H "Content-Type: application/json" -d '{"message": "half of it"}'`],
  ["cronradar", "CronRadar", ({ base, key }) => each(word => `curl -u API_KEY: ${base}/ping/${key}/${word}`, "start", "complete", "fail"), true],
  ["cronitor", "Cronitor", ({ base, code }) => `curl ${base}/${code}/run
curl ${base}/${code}/complete
curl "${base}/${code}/fail?msg=disk+full"`],
  ["crontify", "Crontify", ({ base, key }) => each(word => `curl -X POST -H "X-API-Key: API_KEY" ${base}/api/v1/ping/${key}/${word}`, "start", "success", "fail"), true],
  ["cronping", "Cronping", ({ token }) => each(word => `curl ${token}${word}`, "/start", "", "/fail")],
  ["healthchecks", "Healthchecks", ({ ping }) => each(word => `curl -m 10 --retry 5 ${ping}${word}`, "/start", "", "/fail")],
  ["kuma", "Uptime Kuma", ({ base, m }) => `curl "${base}/api/push/${m.token}?status=up&msg=OK&ping="
curl "${base}/api/push/${m.token}?status=down&msg=disk+full"`],
];

// A line of a crontab with the wrapper around its command.
export const wrappedLine = ({ line, command }, m) => line.replace(command, () => `cronwatch-exec ${baseOf(m)}/${m.token} -- ${command}`);

// A chip for each dialect and the lines of the chosen one, with this monitor's own handles.
export function pingLines(m) {
  const base = baseOf(m);
  const own = { m, base, token: `${base}/${m.token}`, ping: `${base}/ping/${m.token}`, code: m.code, key: encodeURIComponent(m.key) };
  const out = h("div.lines-out", { role: "status" });
  const choose = ([,, make, needsKey]) => put(out, copyable(make(own)),
    needsKey && h("p.hint", "API_KEY is a key for many monitors: ", h("a", { href: "#/keys" }, "make one"), "."));
  const name = `line-${Math.random()}`;
  choose(LINES[0]);
  return h("div.lines", h("fieldset.radios", h("legend.hidden", "Written for"),
    LINES.map((line, n) => {
      const input = h("input", { type: "radio", name, value: line[0], onchange: () => choose(line) });
      input.checked = n === 0;
      return h("label.radio", input, h("span", line[1]));
    })), out);
}
