/** Numbers and names as the page says them. */

const whole = new Intl.NumberFormat("en");

export const number = (value) => whole.format(value);

export const count = (value, name) => `${number(value)} ${name}${value === 1 ? "" : "s"}`;

/** "image" or "text". */
export const thing = (modality) => (modality === "image" ? "image" : "text");

/** "2 bits apart". */
export const apart = (distance) => (distance === 0 ? "same code" : `${count(distance, "bit")} apart`);

/** "3 to 9 bits apart". */
export function between(distances) {
  const [near, far] = [Math.min(...distances), Math.max(...distances)];
  return near === far ? apart(far) : `${near} to ${far} bits apart`;
}

/** Milliseconds as short as they still say something: "0.04 ms", "0.4 ms", "13 ms". */
export function milliseconds(value) {
  const digits = value < 0.095 ? 2 : value < 9.95 ? 1 : 0;
  return `${whole.format(Number(value.toFixed(digits)))} ms`;
}

/** What was compared: "1,000 images"; "the images" where the index cannot count behind a filter. */
export const compared = ({ searched, target }) =>
  searched === null ? `the ${thing(target)}s` : count(searched, thing(target));

/** A payload's field as text, or "". */
export const textOf = (value) => (typeof value === "string" ? value : "");

/** A payload's labels: strings of a list, nothing else. */
export const labelsOf = (payload) =>
  Array.isArray(payload.labels) ? payload.labels.filter((label) => typeof label === "string") : [];

/** A label as people write it: "crowd_group" is "crowd group", "type:shirt" is "type: shirt". */
export const readable = (label) =>
  label.replace(/(?<=\p{L}):(?=\p{L})/gu, ": ").replace(/_+/g, " ").trim() || label;

/** An item's caption, or "". */
export const captionOf = (hit) => textOf(hit.payload.text).trim();

/** What an item is called: its caption, else its labels, else its id. */
export const nameOf = (hit) =>
  captionOf(hit) || labelsOf(hit.payload).map(readable).join(", ") || `Item ${hit.id}`;

/** A text for titles and names, where no element keeps its marks of direction from the rest. */
export const plain = (text) => text.replace(/[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g, "");
