/** Making elements. Strings become text nodes, so nothing that a server says is ever read as HTML. */

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  alike: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM15.5 15.5 21 21M7.3 9.4c1.1-1.3 2.1-1.3 3.2-.3s2.1 1 3.2-.3M7.3 12.6c1.1-1.3 2.1-1.3 3.2-.3s2.1 1 3.2-.3",
  back: "M15 5l-7 7 7 7",
  close: "M6 6l12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  down: "M6 9l6 6 6-6",
  error: "M12 3 2.5 20h19zM12 10v4M12 17h.01",
  info: "M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17zM12 11v5.5M12 7.8h.01",
  key: "M14.5 9.5a4 4 0 1 1-1.2-2.8 4 4 0 0 1 1.2 2.8zM14 11l7 7M18 15l2-2",
  next: "M9 5l7 7-7 7",
  nothing: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13zM15.5 15.5 21 21M8 10.5h5",
  shuffle: "M4 7h3.5l9 10H20M4 17h3.5l2.6-2.9M14 9.9 16.5 7H20M17.5 4.5 20 7l-2.5 2.5M17.5 14.5 20 17l-2.5 2.5",
};

/**
 * Return an element.
 *
 * `attributes` with the value true are set empty, with null, undefined or false left out; those
 * that begin with "on" are listeners.
 */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Return an SVG element; see `h`. */
export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Return one of our line icons. */
export function icon(name) {
  const attributes = { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" };
  return s("svg", attributes, s("path", { d: ICONS[name] }));
}

export const $ = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}
