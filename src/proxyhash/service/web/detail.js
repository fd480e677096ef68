/** One hit beside the query, bit by bit. */

import { bitGrid, MOST_BITS } from "./bits.js";
import { $, h, icon } from "./dom.js";
import { labelList, imageOf } from "./hits.js";
import { apart, nameOf, textOf } from "./words.js";

const SHOWN_ELSEWHERE = new Set(["text", "labels", "image"]);

/** Show a hit; `alike(hit, modality)` searches with it. */
export function openDetail(hit, answer, { chosen, alike, modalities }) {
  const dialog = $("detail");
  const search = (target) => {
    dialog.close();
    alike(hit, target);
  };
  const button = (target, text) =>
    modalities[target]
      ? h("button", { class: "go", type: "button", onclick: () => search(target) }, text)
      : null;
  dialog.replaceChildren(
    h(
      "button",
      { class: "round close", type: "button", "aria-label": "Close", onclick: () => dialog.close() },
      icon("close"),
    ),
    imageOf(hit),
    h(
      "div",
      { class: "body" },
      h("p", { class: "near" }, h("b", {}, apart(hit.distance)), h("span", {}, hit.id)),
      h("h2", { id: "detail-title" }, nameOf(hit)),
      labelList(hit, chosen),
      answer.bits <= MOST_BITS ? comparison(hit, answer) : null,
      otherFields(hit.payload),
      h("p", { class: "actions" }, button("image", "Images like this"), button("text", "Texts like this")),
    ),
  );
  dialog.showModal();
}

function comparison(hit, { bits, query }) {
  const code = (name, grid) => h("figure", {}, grid, h("figcaption", {}, name));
  const agree = bits - hit.distance;
  return h(
    "div",
    { class: "comparison" },
    code("the query", bitGrid(query.code, bits, { other: hit.code })),
    code("this item", bitGrid(hit.code, bits, { other: query.code })),
    h("p", {}, h("b", {}, agree), ` of ${bits} bits agree; ${bits / 2} would agree by chance.`),
  );
}

function otherFields(payload) {
  const fields = Object.entries(payload).filter(
    ([key, value]) => !SHOWN_ELSEWHERE.has(key) && value !== null && value !== "",
  );
  if (!fields.length) return null;
  const shown = (value) => textOf(value) || JSON.stringify(value);
  return h(
    "dl",
    { class: "fields" },
    fields.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, shown(value)))),
  );
}
