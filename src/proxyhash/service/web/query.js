/** The panel beside the results: the query and its code. */

import { thumbnailOf } from "./api.js";
import { h, icon } from "./dom.js";
import { imageOf } from "./hits.js";
import { codeFigure, insights } from "./insight.js";

const wide = matchMedia("(min-width: 1080px)");

/** Return the panel's content; `shown` is the image that was uploaded for this code, if any. */
export function queryPanel(answer, { shown, roundTrip, copied }) {
  const { query } = answer;
  const more = h(
    "details",
    { class: "insights", open: wide.matches },
    h("summary", {}, "About this code", icon("down")),
    insights(answer, roundTrip),
  );
  wide.onchange = () => { more.open = wide.matches; };
  return [
    h(
      "div",
      { class: "asked" },
      queryImage(query, shown),
      h("div", {}, h("p", { class: "kind" }, kindOf(query, shown)), h("h2", {}, titleOf(query, shown))),
    ),
    h("div", { class: "own" }, codeFigure(answer), navigator.clipboard ? copyButton(answer, copied) : null),
    more,
  ];
}

/** Return what a query is called in a title or a sentence. */
export function titleOf(query, shown) {
  if (shown) return shown.name;
  if (query.text) return query.text;
  if (query.id) return `Item ${query.id}`;
  return query.code.length > 8 ? `Code ${query.code.slice(0, 8)}…` : `Code ${query.code}`;
}

function kindOf(query, shown) {
  if (shown) return "Your image";
  if (query.id) return query.modality === "text" ? `The text of ${query.id}` : `Similar to ${query.id}`;
  return query.text ? "Your text" : "Searching with";
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
