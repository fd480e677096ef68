/** Choosing labels: the most frequent ones as chips, the others behind a button. */

import { h } from "./dom.js";
import { number, readable } from "./words.js";

const FIRST = 8;
let expanded = false;

/** Fill the field set; `changed` is told the labels that are chosen then, and how they join. */
export function showFilters(place, labels, { chosen, match }, changed) {
  place.hidden = labels.length === 0;
  const known = new Set(labels.map(({ name }) => name));
  const lost = chosen.filter((name) => !known.has(name)).map((name) => ({ name, count: null }));
  const rare = labels.slice(FIRST).filter(({ name }) => chosen.includes(name));
  const front = [...lost, ...rare, ...labels.slice(0, FIRST)];
  const shown = expanded ? [...lost, ...labels] : front;
  const toggle = (name) => {
    const without = chosen.filter((other) => other !== name);
    changed(without.length < chosen.length ? without : [...chosen, name], match);
  };
  const redraw = () => {
    expanded = !expanded;
    showFilters(place, labels, { chosen, match }, changed);
    place.querySelector(".more")?.focus();
  };
  const hiddenOnes = labels.length + lost.length - front.length;
  const state = keepFocus(place);
  place.replaceChildren(
    h("legend", { class: "hidden" }, "Only items with these labels"),
    ...shown.map((label) => chip(label, chosen.includes(label.name), toggle)),
    hiddenOnes > 0 || expanded
      ? h("button", { class: "more", type: "button", "aria-expanded": String(expanded), onclick: redraw },
          expanded ? "Fewer" : `${number(hiddenOnes)} more`)
      : "",
    chosen.length > 1 ? joint(match, (wanted) => changed(chosen, wanted)) : "",
    chosen.length
      ? h("button", { class: "more", type: "button", onclick: () => changed([], match) }, "Clear")
      : "",
  );
  place.classList.toggle("all", expanded);
  state();
}

function chip({ name, count }, on, toggle) {
  return h(
    "button",
    { class: "chip", type: "button", "aria-pressed": String(on), "data-label": name,
      title: readable(name) === name ? null : `Label ${name}`, onclick: () => toggle(name) },
    h("span", { dir: "auto" }, readable(name)),
    count === null ? null : h("small", {}, number(count)),
  );
}

function joint(match, changed) {
  const option = (value, text) =>
    h("label", {},
      h("input", { type: "radio", name: "match", value, checked: value === match,
        onchange: () => changed(value) }),
      h("span", {}, text));
  return h("span", { class: "switch small", role: "group", "aria-label": "Combine labels" },
    option("any", "any"), option("all", "all"));
}

// Chips are rebuilt on every change; the one that was pressed keeps the focus.
function keepFocus(place) {
  const focused = place.contains(document.activeElement) ? document.activeElement : null;
  return () => {
    if (!focused) return;
    const { label } = focused.dataset;
    const again = label !== undefined
      ? [...place.querySelectorAll(".chip")].find((each) => each.dataset.label === label)
      : focused.name && place.querySelector(`[name="${focused.name}"]:checked`);
    (again || place.querySelector(".chip"))?.focus({ preventScroll: true });
  };
}
