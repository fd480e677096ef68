/** In place of results: the start page, nothing found, and errors with a next step. */

import { bitGrid } from "./bits.js";
import { keyIsSet, setKey } from "./api.js";
import { h, icon } from "./dom.js";
import { count } from "./words.js";

const EXAMPLES = 6;

/** Return the start page: what there is to search, and words to begin with. */
export function welcome(info, ask) {
  const { modalities, bits, model } = info;
  const amounts = [
    modalities.image ? count(modalities.image, "image") : null,
    modalities.text ? count(modalities.text, "text") : null,
  ].filter(Boolean);
  const examples = model.text_encoder ? info.labels.slice(0, EXAMPLES) : [];
  const example = ({ name }) =>
    h("button", { class: "chip", type: "button", onclick: () => ask(name) }, name);
  return h(
    "div",
    { class: "welcome" },
    h("h2", {}, "Search by text or image"),
    h(
      "p",
      { class: "lead" },
      `A text or an image becomes a code of ${bits} bits. The results are the items with the `,
      `nearest codes, out of ${amounts.join(" and ") || "an index that is still empty"}.`,
    ),
    examples.length ? h("p", { class: "examples" }, h("span", {}, "Try"), examples.map(example)) : null,
    fingerprint(model),
  );
}

function fingerprint(model) {
  if (!/^[0-9a-f]{64}$/i.test(model.fingerprint)) return null;
  return h(
    "figure",
    { class: "fingerprint" },
    bitGrid(model.fingerprint, 256, { columns: 32 }),
    h("figcaption", {}, "Fingerprint of this model, drawn like a code"),
  );
}

/** Return the notice that nothing was found; `clear` removes the filters. */
export function nothing(labels, clear) {
  const filtered = labels.length > 0;
  return notice({
    sign: "nothing",
    title: "Nothing found",
    text: filtered
      ? `No item has the labels chosen (${labels.join(", ")}).`
      : "The index has no items to compare with.",
    actions: filtered ? [action("Search without labels", clear)] : [],
  });
}

/** Return an error with the service's own sentence; `retry` searches again. */
export function failure(error, retry) {
  if (error.status === 401 || error.status === 403) return keyForm(error, retry);
  const busy = error.status === 503 || error.status === 429;
  const again = action("Try again", retry);
  return notice({
    sign: "error",
    title: titleFor(error, busy),
    text: error.message,
    request: error.request,
    actions: [again],
    after: busy && error.retryAfter ? countdown(again, error.retryAfter) : null,
  });
}

function titleFor({ status }, busy) {
  if (busy) return "Too busy right now";
  if (status === 0) return "No answer";
  return status < 500 ? "Cannot search for that" : "Something went wrong";
}

function keyForm(error, retry) {
  const input = h("input", {
    id: "key",
    type: "password",
    required: true,
    pattern: "\\s*[!-~]+\\s*",
    title: "ASCII letters, digits and symbols",
    autocomplete: "off",
    "aria-describedby": "key-hint",
  });
  const submit = (event) => {
    event.preventDefault();
    setKey(input.value.trim());
    retry();
  };
  return notice({
    sign: "key",
    ...aboutKey(error),
    request: error.request,
    actions: [
      h("form", { class: "key", onsubmit: submit },
        h("label", { for: "key" }, "Key"), input, h("button", { class: "go" }, "Use this key"),
        h("small", { id: "key-hint" }, "Kept in this tab until it is closed.")),
    ],
  });
}

// The service's own sentence about a missing key speaks to programs.
function aboutKey({ status, message }) {
  if (status === 403) return { title: "This key does not allow that", text: message };
  if (keyIsSet()) {
    const text = "The service does not recognize it. Check that it is complete, or ask for a new one.";
    return { title: "This key is not valid", text };
  }
  return { title: "A key is needed", text: "Whoever runs this service can give you one." };
}

function notice({ sign, title, text, request = "", actions, after = null }) {
  return h(
    "div",
    { class: "notice" },
    icon(sign),
    h("h2", {}, title),
    h("p", {}, sentence(text)),
    h("div", { class: "actions" }, actions, after),
    request ? h("small", {}, `Request ${request}`) : null,
  );
}

// Error sentences begin small and lack a full stop, as a terminal shows them.
function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(whole) ? whole : `${whole}.`;
}

const action = (text, onclick) => h("button", { class: "go", type: "button", onclick }, text);

// The button stays usable: the wait is the service's advice.
function countdown(button, seconds) {
  const text = h("span", { class: "wait" });
  let left = seconds;
  const tick = () => {
    text.textContent = left > 0 ? `Wait ${count(left, "second")}, as the service asks.` : "You can try again now.";
    if (left > 0 && (button.isConnected || left === seconds)) setTimeout(tick, 1000);
    left -= 1;
  };
  tick();
  return text;
}
