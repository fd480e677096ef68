/** One hit in full: its image, caption and fields, and why it was found; arrows lead to the others. */

import { originalOf, showImage } from "./api.js";
import { bitGrid, MOST_BITS } from "./bits.js";
import { $, h, icon } from "./dom.js";
import { labelList, marked } from "./hits.js";
import { apart, captionOf, count, nameOf, number, plain, textOf } from "./words.js";

const SHOWN_ELSEWHERE = new Set(["text", "labels", "image"]);
let explained = false; // whether "Why this result?" stays open from one hit to the next

/**
 * Show a hit of an answer.
 *
 * `alike(hit, modality)` searches with it, `closed(place)` is told which hit was shown last;
 * with `why` the explanation is open.
 */
export function openDetail(hit, answer, { chosen, alike, modalities, originals, closed, why = false }) {
  const dialog = $("detail");
  let at = answer.hits.indexOf(hit);
  explained ||= why;
  const show = (place) => {
    if (place < 0 || place >= answer.hits.length) return;
    const focused = dialog.contains(document.activeElement) && document.activeElement.dataset.key;
    at = place;
    dialog.replaceChildren(...content(answer, at, { chosen, search, modalities, originals, show, close }));
    const again = focused && dialog.querySelector(`[data-key="${focused}"]:not(:disabled)`);
    if (dialog.open) (again || dialog.querySelector(".close")).focus();
  };
  const close = () => dialog.close();
  const search = (target) => {
    dialog.onclose = null;
    close();
    alike(answer.hits[at], target);
  };
  dialog.onkeydown = ({ key }) => {
    if (key === "ArrowLeft") show(at - 1);
    if (key === "ArrowRight") show(at + 1);
  };
  dialog.onclose = () => {
    explained = false;
    closed(at);
  };
  show(at);
  dialog.showModal();
  dialog.querySelector(".close").focus();
}

function content(answer, at, { chosen, search, modalities, originals, show, close }) {
  const hit = answer.hits[at];
  const step = (to, key, name) =>
    h("button", { class: `round step ${key}`, type: "button", "data-key": key, "aria-label": name,
      title: name, disabled: to < 0 || to >= answer.hits.length, onclick: () => show(to) }, icon(key));
  const button = (target, text) =>
    modalities[target]
      ? h("button", { class: "go", type: "button", "data-key": target, onclick: () => search(target) }, text)
      : null;
  const steps = answer.hits.length > 1
    ? [step(at - 1, "back", "Previous result"), step(at + 1, "next", "Next result")] : [];
  const caption = captionOf(hit);
  const name = h("h2", { id: "detail-title", dir: "auto" }, caption ? marked(caption, hit) : plain(nameOf(hit)));
  return [
    h("div", { class: "stage" }, largeImage(hit, originals), steps),
    h(
      "div",
      { class: "body" },
      h("p", { class: "kind", "aria-live": "polite" }, `Result ${at + 1} of ${number(answer.hits.length)}`),
      name,
      labelList(hit, chosen),
      otherFields(hit.payload),
      h("p", { class: "actions" }, button("image", "Images like this"), button("text", "Texts like this")),
      explanation(hit, answer),
    ),
    h("button", { class: "round close", type: "button", "data-key": "close", "aria-label": "Close", onclick: close },
      icon("close")),
  ];
}

/** The thumbnail, which is there at once, and the original in its place as soon as it has come. */
function largeImage(hit, originals) {
  const alt = plain(nameOf(hit));
  const quote = () => h("p", { class: "quote", dir: "auto", "aria-hidden": "true" }, captionOf(hit) || alt);
  const frame = h("div", { class: "image" });
  const image = h("img", { alt, decoding: "async" });
  if (typeof hit.thumbnail === "string") {
    frame.append(image);
    showImage(image, hit.thumbnail, () => { if (image.isConnected) frame.replaceChildren(quote()); });
  } else {
    frame.append(quote());
  }
  if (originals) {
    const large = h("img", { alt, decoding: "async" });
    large.addEventListener("load", () => frame.replaceChildren(large), { once: true });
    showImage(large, originalOf(hit.id), () => {});
  }
  return frame;
}

function explanation(hit, answer) {
  const { bits, query } = answer;
  const code = (name, grid) => h("figure", {}, grid, h("figcaption", {}, name));
  const drawn = bits <= MOST_BITS;
  const more = h(
    "details",
    { class: "reason", open: explained },
    h("summary", { "data-key": "why" }, "Why this result?", icon("down")),
    h(
      "div",
      { class: "comparison" },
      h("p", { class: "near" }, h("b", {}, apart(hit.distance)), ": ", h("b", {}, number(bits - hit.distance)),
        ` of ${count(bits, "bit")} agree with the query's code; ${bits / 2} would agree by chance.`),
      hit.matched?.length ? h("p", {}, "Found by its words: ", h("b", { dir: "auto" }, hit.matched.join(", "))) : null,
      drawn ? code("the query", bitGrid(query.code, bits, { other: hit.code })) : null,
      drawn ? code("this item", bitGrid(hit.code, bits, { other: query.code })) : null,
      h("p", { class: "id" }, "Id ", h("code", { dir: "auto" }, hit.id)),
    ),
  );
  more.addEventListener("toggle", () => { explained = more.open; });
  return more;
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
    fields.map(([key, value]) =>
      h("div", {}, h("dt", { dir: "auto" }, key), h("dd", { dir: "auto" }, shown(value))),
    ),
  );
}
