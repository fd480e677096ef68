/** Codes drawn as grids of squares, the bits that differ from another code marked. */

import { s } from "./dom.js";

export const MOST_BITS = 1024;
const SIDE = 0.86;

/** Return the bits of a code in hex, most significant first within each byte, without padding. */
export function toBits(hex, bits) {
  return Array.from({ length: bits }, (_, place) => {
    const byte = Number.parseInt(hex.slice((place >> 3) * 2, (place >> 3) * 2 + 2), 16);
    return (byte >> (7 - (place & 7))) & 1;
  });
}

/** How many squares stand in a row: as near to a square grid as powers of two allow. */
export function columnsFor(bits) {
  return 2 ** Math.ceil(Math.log2(Math.sqrt(bits)));
}

/** Return an SVG of a code; `other` is the code to compare with, `columns` squares make a row. */
export function bitGrid(hex, bits, { other = hex, columns = columnsFor(bits) } = {}) {
  const [own, wanted] = [toBits(hex, bits), toBits(other, bits)];
  const squares = { on: "", off: "", "on far": "", "off far": "" };
  own.forEach((bit, place) => {
    const name = (bit ? "on" : "off") + (bit === wanted[place] ? "" : " far");
    const [x, y] = [place % columns, Math.floor(place / columns)];
    squares[name] += `M${x} ${y}h${SIDE}v${SIDE}h-${SIDE}z`;
  });
  const [width, height] = [Math.min(bits, columns), Math.ceil(bits / columns)];
  const box = `0 0 ${width - 1 + SIDE} ${height - 1 + SIDE}`;
  return s(
    "svg",
    { class: "bits", viewBox: box, "aria-hidden": "true", focusable: "false" },
    Object.entries(squares)
      .filter(([, d]) => d)
      .map(([name, d]) => s("path", { class: name, d })),
  );
}
