/** Explanation of an answer: the code, all distances, the nearest classes, the time. */

import { bitGrid, MOST_BITS } from "./bits.js";
import { h, s } from "./dom.js";
import { between, compared, milliseconds, number, readable, thing } from "./words.js";

const HEIGHT = 34;
const PROXIES = 6;

/** Return the query's code as a grid with its legend. */
export function codeFigure(answer) {
  const { bits, query } = answer;
  return h(
    "figure",
    { class: "own-code" },
    bits <= MOST_BITS ? bitGrid(query.code, bits) : null,
    h(
      "figcaption",
      {},
      h("b", {}, `${bits} bits`),
      h("code", { title: query.code }, query.code),
      h(
        "span",
        { class: "legend", "aria-hidden": "true" },
        h("span", {}, h("i", { class: "on" }), "1"),
        h("span", {}, h("i", { class: "off" }), "0"),
        h("span", {}, h("i", { class: "far" }), "differs"),
      ),
    ),
  );
}

/** Return the explanations of an answer; without `explain` only the times. */
export function insights(answer, roundTrip) {
  const { explain } = answer;
  return [
    explain?.histogram.length ? histogram(answer) : null,
    explain?.proxies?.length ? proxies(answer) : null,
    times(answer.took_ms, roundTrip),
  ];
}

function histogram(answer) {
  const { bits, target } = answer;
  const { histogram: counts, cut } = answer.explain;
  // Square roots, since the few near ones matter most and would vanish beside the thousands.
  const most = Math.sqrt(Math.max(1, ...counts));
  const bars = { near: "", rest: "" };
  counts.forEach((each, distance) => {
    if (!each) return;
    const height = Math.max(0.6, (Math.sqrt(each) / most) * HEIGHT);
    const name = cut !== null && distance <= cut ? "near" : "rest";
    bars[name] += `M${distance} ${HEIGHT}v-${height.toFixed(2)}h.8v${height.toFixed(2)}z`;
  });
  const chart = s(
    "svg",
    { viewBox: `0 0 ${bits + 1} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
      "aria-label": spoken(counts, cut, target) },
    s("path", { class: "rest", d: bars.rest }),
    s("path", { class: "near", d: bars.near }),
    cut === null ? null : s("path", { class: "cut", d: `M${cut + 0.9} 0v${HEIGHT}` }),
  );
  const readout = h("p", { class: "readout" });
  const say = (distance) => {
    readout.textContent =
      distance === null
        ? compared(answer) + (cut === null ? "" : `, shown up to ${cut}`)
        : `${number(counts[distance] ?? 0)} at distance ${distance}`;
  };
  chart.addEventListener("pointermove", (event) => {
    const { left, width } = chart.getBoundingClientRect();
    say(Math.max(0, Math.min(bits, Math.floor(((event.clientX - left) / width) * (bits + 1)))));
  });
  chart.addEventListener("pointerleave", () => say(null));
  say(null);
  return h(
    "figure",
    { class: "histogram" },
    h("figcaption", {}, h("h3", {}, "Distances"), readout),
    chart,
    answer.hits.length
      ? h("p", { class: "hidden" }, `The results are ${between(answer.hits.map(({ distance }) => distance))}.`)
      : null,
    h(
      "p",
      { class: "axis", "aria-hidden": "true" },
      h("span", {}, "0"),
      h("span", {}, `${bits / 2} chance`),
      h("span", {}, bits),
    ),
  );
}

function spoken(counts, cut, target) {
  const first = counts.findIndex((each) => each > 0);
  if (first < 0) return `No ${thing(target)} was searched.`;
  const last = counts.findLastIndex((each) => each > 0);
  const mode = counts.indexOf(Math.max(...counts));
  const shown = cut === null ? "" : ` The results reach to distance ${cut}.`;
  return `Distances of the ${thing(target)}s: from ${first} to ${last}, most often ${mode}.${shown}`;
}

function proxies({ explain, bits }) {
  const rows = explain.proxies.slice(0, PROXIES).map(({ label, distance }) => {
    // Half of the bits agree by chance: only what is nearer says something.
    const share = Math.max(0, 1 - distance / (bits / 2));
    const bar = s(
      "svg",
      { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { class: "track", width: 100, height: 4 }),
      s("rect", { class: "share", width: (share * 100).toFixed(1), height: 4 }),
    );
    return h("li", {}, h("span", { title: label, dir: "auto" }, readable(label)), bar, h("b", {}, distance));
  });
  return h(
    "figure",
    { class: "proxies" },
    h(
      "figcaption",
      {},
      h("h3", {}, "Nearest classes"),
      h("p", { class: "readout" }, "bits to their proxies"),
    ),
    h("ol", {}, rows),
  );
}

function times({ encode, search, total }, roundTrip) {
  const rest = Math.max(0, total - encode - search);
  const scale = 100 / Math.max(total, encode + search, 1e-6);
  const parts = [["encode", encode], ["search", search], ["rest", rest]];
  let x = 0;
  const bars = parts.map(([name, value]) => {
    const width = value * scale;
    x += width;
    return s("rect", { class: name, x: (x - width).toFixed(2), width: width.toFixed(2), height: 4 });
  });
  return h(
    "figure",
    { class: "times" },
    h(
      "figcaption",
      {},
      h("h3", {}, "Time"),
      h("p", { class: "readout" }, `${milliseconds(roundTrip)} round trip`),
    ),
    s("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" }, bars),
    h(
      "dl",
      {},
      parts.map(([name, value]) =>
        h("div", {}, h("dt", {}, h("i", { class: name }), name), h("dd", {}, milliseconds(value))),
      ),
    ),
  );
}
