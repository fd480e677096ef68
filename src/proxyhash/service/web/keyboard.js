/** Keys: "/" to the search box, arrows through the results, "m" for more like one, Esc back. */

import { $ } from "./dom.js";

/** Listen; what is typed into fields stays there. */
export function watchKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("detail").open) return;
    const move = typing(event.target) ? fromField(event) : fromPage(event);
    if (!move) return;
    event.preventDefault();
    move();
  });
}

function fromField({ key, target }) {
  const words = $("words");
  if (target !== words) return null;
  if (key === "ArrowDown" && cards().length) return () => focus(cards()[0]);
  const tile = document.querySelector(".sample button");
  if (key === "ArrowDown" && tile) return () => tile.focus();
  if (key === "Escape" && words.value) return () => { words.value = ""; };
  return null;
}

function fromPage({ key, target }) {
  if (key === "/" || key === "Escape") return toWords;
  const card = target.closest?.(".hit");
  if (!card) return null;
  if (key === "m") return () => card.querySelector(".alike").click();
  const all = cards();
  const at = all.indexOf(card);
  const across = columns(all);
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across };
  if (key === "Home") return () => focus(all[0]);
  if (key === "End") return () => focus(all.at(-1));
  if (!(key in steps)) return null;
  const next = at + steps[key];
  if (next < 0) return key === "ArrowUp" ? toWords : () => {};
  return () => focus(all[Math.min(next, all.length - 1)]);
}

const cards = () => [...document.querySelectorAll("#hits .hit")];

const columns = (all) => all.filter(({ offsetTop }) => offsetTop === all[0].offsetTop).length;

const typing = (target) => target.matches?.("input:not([type=radio]), textarea, select");

function focus(card) {
  card.querySelector(".open").focus();
  card.scrollIntoView({ block: "nearest" });
}

function toWords() {
  $("words").focus();
  $("words").select();
}
