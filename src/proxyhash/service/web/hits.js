/** The results: a grid of cards, or their shapes while an answer is awaited. */

import { showThumbnail } from "./api.js";
import { bitGrid, MOST_BITS } from "./bits.js";
import { h, icon } from "./dom.js";
import { apart, labelsOf, nameOf, thing } from "./words.js";

/** Return the list of an answer's hits; `open` and `alike` are told which one was chosen. */
export function hitList(answer, { chosen, open, alike }) {
  const cards = answer.hits.map((hit) => card(hit, answer, { chosen, open, alike }));
  return h("ol", { class: `hits ${answer.target}s`, id: "hits" }, cards);
}

/** Return as many empty cards as an answer may have hits. */
export function skeletons(target, k) {
  const cards = Array.from({ length: Math.min(k, 24) }, () =>
    h(
      "li",
      { class: "hit skeleton" },
      h("div", { class: "image" }),
      h("div", { class: "body" }, h("i"), h("i"), h("i")),
    ),
  );
  return h("ol", { class: `hits ${target}s`, "aria-hidden": "true" }, cards);
}

/** Return the image of a hit, or what stands in its place. */
export function imageOf(hit, { alt = nameOf(hit) } = {}) {
  const frame = h("div", { class: "image" });
  const lost = () => frame.replaceChildren(h("span", { class: "missing" }, "no image"));
  if (typeof hit.thumbnail !== "string") {
    lost();
    return frame;
  }
  const image = h("img", { alt, loading: "lazy", decoding: "async" });
  frame.append(image);
  showThumbnail(image, hit.thumbnail, lost);
  return frame;
}

/** Return the labels of a hit as a list, those that are filtered by marked; null without any. */
export function labelList(hit, chosen) {
  const labels = labelsOf(hit.payload);
  if (!labels.length) return null;
  const items = labels.map((label) =>
    h("li", { class: chosen.includes(label) ? "chosen" : null }, label),
  );
  return h("ul", { class: "labels", "aria-label": "Labels" }, items);
}

function card(hit, answer, { chosen, open, alike }) {
  const name = nameOf(hit);
  const shown = answer.target === "image" || typeof hit.thumbnail === "string";
  const drawn = answer.bits <= MOST_BITS;
  return h(
    "li",
    { class: "hit" },
    shown ? imageOf(hit) : null,
    h(
      "div",
      { class: "body" },
      h(
        "div",
        { class: "code" },
        drawn ? bitGrid(hit.code, answer.bits, { other: answer.query.code }) : null,
        h(
          "p",
          { class: "near" },
          h("b", {}, apart(hit.distance)),
          h("span", { title: hit.id }, hit.id),
        ),
      ),
      h("h3", {}, h("button", { class: "open", type: "button", onclick: () => open(hit) }, name)),
      labelList(hit, chosen),
    ),
    h(
      "button",
      {
        class: "alike",
        type: "button",
        "aria-label": `More ${thing(answer.target)}s like ${name}`,
        onclick: () => alike(hit, answer.target),
      },
      icon("alike"),
      h("span", {}, "More like this"),
    ),
  );
}
