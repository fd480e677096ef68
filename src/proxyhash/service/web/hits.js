/** The results: a grid of cards, or their shapes while an answer is awaited. */

import { showImage } from "./api.js";
import { h, icon } from "./dom.js";
import { captionOf, labelsOf, nameOf, plain, readable, thing } from "./words.js";

const MOST_SHAPES = 24;
let wordy = false; // whether the last images found had nothing to show, as the next ones may

/** Return the list of an answer's hits; `open` and `alike` are told which one was chosen. */
export function hitList(answer, actions) {
  wordy = answer.hits.every(({ thumbnail }) => typeof thumbnail !== "string");
  const cards = answer.hits.map((hit) => card(hit, answer, actions));
  return h("ol", { class: `hits ${layout(answer.target)}`, id: "hits" }, cards);
}

/** Append the hits that a larger answer has beyond a list, and return the first new card. */
export function appendHits(list, answer, actions) {
  const cards = answer.hits.slice(list.children.length).map((hit) => card(hit, answer, actions));
  list.append(...cards);
  return cards[0] ?? null;
}

/** Return as many empty cards, in the layout of the results, as an answer may have hits. */
export function skeletons(target, k) {
  const form = layout(target);
  const shown = !wordy;
  const shape = () =>
    h(
      "li",
      { class: "hit skeleton" },
      shown ? h("div", { class: "image" }) : null,
      h("div", { class: "body" }, h("p", { class: "open" }, h("i"), h("i")), h("p", { class: "labels" }, h("i"))),
    );
  const cards = Array.from({ length: Math.min(k, MOST_SHAPES) }, shape);
  return h("ol", { class: `hits ${form}`, "aria-hidden": "true" }, cards);
}

const layout = (target) => (target === "image" && !wordy ? "images" : "texts");

/** Return a hit's thumbnail in a frame, which goes away and calls `lost` where it cannot be shown. */
export function imageOf(hit, { alt = nameOf(hit), lost = () => {} } = {}) {
  const image = h("img", { alt: plain(alt), loading: "lazy", decoding: "async" });
  const frame = h("div", { class: "image" }, image);
  showImage(image, hit.thumbnail, () => {
    frame.remove();
    lost();
  });
  return frame;
}

const WORD = /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|[\p{L}\p{N}\p{M}]+/gu;

const fold = (word) => word.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** Return a text as strings and elements: words that its hit was found by are marked. */
export function marked(text, { matched }) {
  const terms = (matched ?? []).map((term) => fold(term).replace("*", " *").split(" "));
  const starts = terms.filter((words) => words.at(-1) === "*").map((words) => words.at(-2));
  const whole = new Set(terms.flatMap((words) => (words.at(-1) === "*" ? words.slice(0, -2) : words)));
  const parts = [];
  let at = 0;
  for (const { 0: word, index } of terms.length ? text.matchAll(WORD) : []) {
    const folded = fold(word);
    if (!whole.has(folded) && !starts.some((start) => folded.startsWith(start))) continue;
    parts.push(text.slice(at, index), h("mark", {}, word));
    at = index + word.length;
  }
  return [...parts, text.slice(at)];
}

/** Return the labels of a hit as a list, those that are filtered by marked; null without any. */
export function labelList(hit, chosen) {
  const labels = labelsOf(hit.payload);
  if (!labels.length) return null;
  const items = labels.map((label) =>
    h("li", { class: chosen.includes(label) ? "chosen" : null, dir: "auto" }, readable(label)),
  );
  return h("ul", { class: "labels", "aria-label": "Labels" }, items);
}

/** Return the button that searches with a hit; it is named after the caption. */
export function alikeButton(hit, target, alike) {
  return h(
    "button",
    {
      class: "alike",
      type: "button",
      title: "More like this",
      "aria-label": `More ${thing(target)}s like “${plain(nameOf(hit))}”`,
      onclick: () => alike(hit, target),
    },
    icon("alike"),
    h("span", {}, "More like this"),
  );
}

function card(hit, answer, { chosen, open, alike }) {
  const shown = typeof hit.thumbnail === "string";
  const caption = captionOf(hit);
  const name = plain(nameOf(hit));
  const silent = shown && !caption; // the image says it all; its name is for those who cannot see it
  const place = h("li", { class: shown ? "hit" : "hit wordy" });
  const lost = () => {
    place.classList.add("wordy");
    place.querySelector(".open")?.classList.remove("unseen");
  };
  const button = h(
    "button",
    { class: silent ? "open unseen" : "open", type: "button", dir: "auto", onclick: () => open(hit) },
    caption ? marked(caption, hit) : name,
  );
  const why = h(
    "button",
    { class: "why", type: "button", "aria-label": `Why this result? ${name}`, onclick: () => open(hit, { why: true }) },
    "Why this result?",
  );
  place.append(
    ...(shown ? [imageOf(hit, { lost })] : []),
    h("div", { class: "body" }, h("h3", {}, button), labelList(hit, chosen), why),
    alikeButton(hit, answer.target, alike),
  );
  return place;
}
