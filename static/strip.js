// The strip of a monitor's last 30 occurrences, and the tooltip that strips and charts share.

import { h, svg, put, setText, stamp, duration, titled } from "./dom.js";

export const SLOTS = 30;
const STEP = 6, BAR = 4.6, TALL = 20;
const BAD = ["failed", "stuck"];

// How an occurrence is called: it is the state of its run, or says that there was none.
const NAMES = { success: "went well", matched: "matched a rule", failed: "failed", stuck: "stuck", running: "running", unknown: "unknown", missed: "missed" };
export const stateName = state => NAMES[state] || state;

// A path for each state, however many occurrences there are.
export function strip(slots) {
  const longest = Math.max(1, ...slots.map(([, took]) => took || 0));
  const paths = {}, counts = {};
  const draw = (state, d) => { paths[state] = (paths[state] || "") + d; };
  const first = SLOTS - slots.length;
  for (let n = 0; n < first; n++) draw("none", `M${n * STEP} ${TALL - 4}h${BAR}v4h-${BAR}Z`);
  slots.forEach(([, took, state], n) => {
    const x = (first + n) * STEP;
    counts[state] = (counts[state] || 0) + 1;
    if (state === "missed") return draw(state, `M${x + .6} 4.6h${BAR - 1.2}v${TALL - 5.2}h-${BAR - 1.2}Z`);
    const tall = took === null ? TALL * .55 : 4 + (TALL - 4) * took / longest;
    // Not by colour alone: what failed stands on a foot, a rule's match wears a hat.
    const mark = BAD.includes(state) ? `M${x} ${TALL + 1.4}h${BAR}v2h-${BAR}Z` : "";
    return draw(state, `M${x} ${TALL}v-${tall.toFixed(1)}h${BAR}v${tall.toFixed(1)}Z${mark}`);
  });
  const words = Object.entries(counts).map(([state, count]) => `${count} ${stateName(state)}`).join(", ");
  return svg("svg.strip", { viewBox: `0 0 ${SLOTS * STEP - 1.4} 24`, role: "img", preserveAspectRatio: "none",
    "aria-label": slots.length ? `Last ${slots.length === 1 ? "time" : `${slots.length} times`}: ${words}` : "It has not run yet" },
  Object.entries(paths).map(([state, d]) => svg("path", { d, class: `is-${state}` })));
}

// Never rounded up to 100: that is only for who was never down.
export function percent(share) {
  if (share === null) return "–";
  if (share === 1) return "100 %";
  const digits = share > .999 ? 3 : share > .99 ? 2 : 1;
  return `${(Math.floor(share * 100 * 10 ** digits) / 10 ** digits).toFixed(digits)} %`;
}

// Which of the slots lies under the pointer.
export function slotAt(node, slots, clientX) {
  const box = node.getBoundingClientRect();
  return slots[Math.floor((clientX - box.left) / box.width * SLOTS) - SLOTS + slots.length];
}

export function slotWords([at, took, state, code], zone) {
  return [`${titled(state)}${code ? `, exit code ${code}` : ""}`, stamp(at, zone, true),
    took === null ? "" : `took ${duration(took)}`].filter(Boolean).join(" · ");
}

// A word beside the pointer; without one it goes.
export function showTip(words, x, y, name = "") {
  const tip = document.getElementById("tip");
  tip.hidden = !words;
  if (!words) return;
  if (name) put(tip, h("b", name), words);
  else setText(tip, words);
  tip.style.left = `${Math.max(4, Math.min(x - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${y > tip.offsetHeight + 12 ? y - tip.offsetHeight - 8 : y + 24}px`;
}
