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

/** What an item is called: its text, else its id. */
export const nameOf = (hit) => textOf(hit.payload.text).trim() || `Item ${hit.id}`;
