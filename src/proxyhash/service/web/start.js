/** The start page: a mosaic of the collection's own images, or some of its texts, to begin with. */

import { fetchSample } from "./api.js";
import { h, icon } from "./dom.js";
import { imageOf } from "./hits.js";
import { nothingYet } from "./notices.js";
import { captionOf, count, nameOf, plain, readable, thing } from "./words.js";

const EXAMPLES = 6;
const ASKED_FOR = 72;
const MOST_SEED = 2 ** 31;
const TEXTS = 12;
let seed = 0; // the same mosaic whenever somebody comes back to it

/** Return the start page: what there is to search, and images and words to begin with. */
export function welcome(info, { ask, alike }) {
  const { modalities, model } = info;
  const amounts = [
    modalities.image ? count(modalities.image, "image") : null,
    modalities.text ? count(modalities.text, "text") : null,
  ].filter(Boolean);
  if (!amounts.length) return nothingYet(info);
  const examples = model.text_encoder ? info.labels.slice(0, EXAMPLES) : [];
  const example = ({ name }) =>
    h("button", { class: "chip", type: "button", dir: "auto", onclick: () => ask(readable(name)) }, readable(name));
  const place = h("div", { class: "sample", "aria-busy": "true" });
  const fill = () => fillSample(place, alike);
  const others = h(
    "button",
    { class: "quiet", type: "button", onclick: () => { seed = Math.floor(Math.random() * MOST_SEED); fill(); } },
    icon("shuffle"),
    "Show others",
  );
  fill();
  return h(
    "div",
    { class: "welcome" },
    h("h2", {}, heading(model)),
    h("p", { class: "lead" }, `${amounts.join(" and ")}. Pick one to see more like it.`),
    h("div", { class: "begin" },
      examples.length ? h("p", { class: "examples" }, h("span", {}, "Try"), examples.map(example)) : null, others),
    place,
  );
}

function heading({ text_encoder: words, image_encoder: images }) {
  if (words && images) return "Search with words or a photo";
  if (images) return "Search with a photo";
  return words ? "Search with words" : "Look around";
}

async function fillSample(place, alike) {
  const found = await fetchSample(ASKED_FOR, seed).catch(() => null);
  if (!found?.items?.length) return place.remove(); // the page is as useful without it
  const shown = found.items.filter(({ thumbnail }) => typeof thumbnail === "string");
  const images = found.target === "image" && shown.length > 0;
  const items = images ? shown : found.items.filter(captionOf).slice(0, TEXTS);
  const tiles = items.map((item) => tile(item, found.target, images, alike));
  place.className = images ? "sample mosaic" : "sample quotes";
  place.setAttribute("aria-busy", "false");
  place.replaceChildren(h("ul", { "aria-label": "Some of the collection" }, tiles));
  if (images) fit(place.firstChild);
  return undefined;
}

function tile(item, target, images, alike) {
  const name = plain(nameOf(item));
  const place = h("li");
  const open = h(
    "button",
    { type: "button", "aria-label": `More ${thing(target)}s like “${name}”`, title: images ? name : null,
      dir: images ? null : "auto", onclick: () => alike(item, target) },
    images ? imageOf(item, { alt: "", lost: () => place.remove() }) : captionOf(item),
  );
  place.append(open);
  return place;
}

/** Keep as many tiles as fill whole rows; those that are large are where the style sheet puts them. */
function fit(list) {
  const tiles = [...list.children];
  const lay = () => {
    if (!list.isConnected) return;
    const style = getComputedStyle(list);
    const columns = style.gridTemplateColumns.split(" ").length;
    const [rows, large] = ["--rows", "--large"].map((name) => Number(style.getPropertyValue(name)));
    const cells = columns * Math.min(rows, Math.floor((tiles.length + 3 * large) / columns));
    tiles.forEach((each, place) => { each.hidden = place >= Math.max(0, cells - 3 * large); });
  };
  new ResizeObserver(lay).observe(list);
  lay();
}
