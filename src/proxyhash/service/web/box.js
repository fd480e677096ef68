/** The search box: which queries are offered, and the name of one that is not a text. */

import { showImage, thumbnailOf } from "./api.js";
import { $, h, icon } from "./dom.js";
import { count, plain } from "./words.js";

/** Offer what the service's model and index can do. */
export function offerChoices({ model, modalities, limits, ...info }) {
  const words = $("words");
  words.maxLength = limits.text;
  words.disabled = !model.text_encoder;
  $("choose").hidden = !model.image_encoder;
  $("target").hidden = !Object.values(modalities).some(Boolean);
  for (const radio of document.querySelectorAll("[name=for]")) radio.disabled = !modalities[radio.value];
  const coders = [model.text_encoder, model.image_encoder].filter(Boolean).join(" and ");
  $("about").replaceChildren(
    h("details", {}, h("summary", {}, "About this index"),
      h("p", {}, `proxyhash ${info.version}, ${count(info.items, "item")}, ${info.engine} engine, ${info.bits} bits from ${coders || "no encoder"}, model `,
        h("code", {}, String(model.fingerprint ?? "unknown").slice(0, 12)))),
    h("p", { class: "keys" }, h("kbd", {}, "/"), " search ", h("kbd", {}, "↑↓←→"), " move ",
      h("kbd", {}, "Enter"), " open ", h("kbd", {}, "m"), " more like this ", h("kbd", {}, "Esc"), " back"),
  );
}

/** Show an image, item or code that is searched with, by its name; null for none of them. */
export function showGiven(name, { query, shown, model, remove }) {
  $("words").placeholder = name ? "" : invitation(model);
  $("given").replaceChildren(...(name ? [given(plain(name), { query, shown, remove })] : []));
}

function given(name, { query, shown, remove }) {
  const byImage = query?.id && query.modality !== "text";
  const image = shown || byImage ? h("img", { src: shown?.url, alt: "" }) : null;
  if (image && !shown) showImage(image, thumbnailOf(query.id), () => image.remove());
  const button = h("button", { type: "button", "aria-label": `Remove ${name}`, onclick: remove }, icon("close"));
  return h("span", { class: "given" }, image, h("span", { dir: "auto" }, name), button);
}

function invitation({ text_encoder: words, image_encoder: pixels }) {
  if (!words) return pixels ? "Search with a photo" : "Pick something below";
  return pixels ? "Describe it, or drop a photo" : "Describe it";
}
