/** Above the results: what was asked, and how the answer was found. */

import { thumbnailOf } from "./api.js";
import { h, icon } from "./dom.js";
import { imageOf } from "./hits.js";
import { codeFigure, insights } from "./insight.js";
import { nameOf } from "./words.js";

let explained = false; // whether the explanation stays open from one search to the next

/** Return the panel's content; `shown` is the image that was uploaded for this code, if any. */
export function queryPanel(answer, { shown, roundTrip, copied, orderBy, orders, findBy }) {
  const { query } = answer;
  const more = h(
    "div",
    { class: "insights", id: "insights", hidden: !explained },
    h("div", { class: "own" }, codeFigure(answer), navigator.clipboard ? copyButton(answer, copied) : null),
    insights(answer, roundTrip),
    h("p", { class: "footnote" }, orderOf(answer), orderButtons(answer, { orderBy, orders })),
  );
  const toggle = h(
    "button",
    { class: "quiet how", type: "button", "aria-expanded": String(explained), "aria-controls": "insights",
      onclick: () => {
        explained = !explained;
        more.hidden = !explained;
        toggle.setAttribute("aria-expanded", String(explained));
      } },
    "How this was found",
    icon("down"),
  );
  return [asked(query, shown), ...(findBy ? [bySwitch(answer, findBy)] : []), toggle, more];
}

/** Return how results are ordered, in a sentence. */
const orderOf = ({ rerank, mode }) =>
  ({
    words: "Results have the words of the search; those with rarer ones come first.",
    both: "Results are near by meaning, have words of the search, or both; rare words come first.",
  })[mode] ??
  ({
    asymmetric: "Nearest first, where bits that the query is less sure of count less.",
    vectors: "Nearest first, by vectors: bits that the query or the result is less sure of count less.",
  })[rerank] ?? "Nearest first; results that are equally near are in the order of their ids.";

const ORDERS = { asymmetric: "Count sure bits more", vectors: "Compare vectors" };

/** Return a button for each order that is not the present one. */
function orderButtons({ rerank }, { orderBy, orders }) {
  if (!orders.length) return []; // a code has no real-valued outputs: it is as sure of each bit
  const others = orders.filter((order) => order !== rerank);
  if (rerank) others.unshift(undefined);
  return others.flatMap((order) => [
    " ",
    h(
      "button",
      { class: "quiet", type: "button", onclick: () => orderBy(order) },
      ORDERS[order] ?? "Count all bits alike",
    ),
  ]);
}

const WAYS = { both: "Meaning and words", codes: "Meaning", words: "Words" };

/** Return the choice of what a text finds results by; `findBy` is told the one chosen. */
function bySwitch({ mode }, findBy) {
  const ways = Object.entries(WAYS).map(([way, name]) =>
    h(
      "label",
      {},
      h("input", { type: "radio", name: "by", value: way, checked: way === mode, onchange: () => findBy(way) }),
      h("span", {}, name),
    ),
  );
  return h("fieldset", { class: "switch small by" }, h("legend", { class: "hidden" }, "Find by"), ways);
}

/** Return what was asked, with its image, to be shown also before the answer is there. */
export function asked(query, shown) {
  return h(
    "div",
    { class: "asked" },
    queryImage(query, shown),
    h("div", {}, h("p", { class: "kind" }, kindOf(query, shown)), h("h2", { dir: "auto" }, titleOf(query, shown))),
  );
}

/** Return what a query is called in a title or a sentence. */
export function titleOf(query, shown) {
  if (shown) return shown.name;
  if (query.text) return query.text;
  if (query.id) return nameOf({ id: query.id, payload: query.payload ?? {} });
  return query.code?.length > 8 ? `Code ${query.code.slice(0, 8)}…` : `Code ${query.code ?? ""}`;
}

function kindOf(query, shown) {
  if (shown) return "Your image";
  if (query.id) return query.modality === "text" ? "Like the text" : "More like this image";
  return query.text ? "Your words" : "Searching with";
}

function queryImage(query, shown) {
  if (shown) {
    const image = h("img", { src: shown.url, alt: `The query: ${shown.name}` });
    return h("div", { class: "image" }, image);
  }
  if (!query.id || query.modality === "text") return null;
  const hit = { id: query.id, payload: {}, thumbnail: thumbnailOf(query.id) };
  return imageOf(hit, { alt: `The query: ${titleOf(query)}` });
}

// Browsers give pages a clipboard on this machine and over HTTPS only.
function copyButton({ query, target }, copied) {
  const link = () => {
    const address = new URL(location.href);
    address.search = new URLSearchParams({ code: query.code, for: target });
    return address.href;
  };
  return h(
    "button",
    {
      class: "quiet",
      type: "button",
      onclick: () => navigator.clipboard.writeText(link()).then(copied, () => {}),
    },
    icon("copy"),
    "Copy link to this code",
  );
}
