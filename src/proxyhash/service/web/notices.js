/** In place of results or above them: notes, nothing found, and errors with a next step. */

import { keyIsSet, setKey } from "./api.js";
import { h, icon } from "./dom.js";
import { count, plain, readable } from "./words.js";

const PASSING = new Set([0, 408, 425, 429]); // what may go well the next time, as may all from 500
const REPLACED = new Set(["unknown_word", "unknown_label"]); // what a suggestion can take the place of

/** Return what of the question was not understood, or null; `instead` searches with a suggestion. */
export function noteList(notes, words, instead) {
  if (!notes?.length) return null;
  const unknown = notes.some(({ kind }) => kind === "unknown_word");
  const searched = unknown && words?.length ? `Searched for: ${words.join(", ")}.` : null;
  return h(
    "ul",
    { class: "notes", "aria-label": "Notes on this search" },
    searched ? h("li", {}, icon("info"), h("span", { dir: "auto" }, searched)) : null,
    notes.map((note) => h("li", {}, searched ? h("i") : icon("info"), noteLine(note, instead))),
  );
}

function noteLine(note, instead) {
  const { kind, subject, suggestions } = note;
  const message = kind === "unknown_label" ? `No item has the label “${plain(subject)}”` : note.message;
  if (!suggestions?.length || !REPLACED.has(kind)) return h("span", { dir: "auto" }, sentence(message));
  const said = message.replace(/\s*(?:[-–—;,]|\()?\s*did you mean.*$/is, "");
  const button = (word) =>
    h("button", { class: "chip", type: "button", dir: "auto", onclick: () => instead(note, word) }, readable(word));
  return [
    h("span", { dir: "auto" }, sentence(said)),
    h("span", { class: "meant" }, "Did you mean ", suggestions.map(button)),
  ];
}

/** Return the notice that nothing was found; `clear` removes the filters. */
export function nothing(labels, clear) {
  const filtered = labels.length > 0;
  return notice({
    sign: "nothing",
    title: "Nothing found",
    text: filtered
      ? `No item has the labels chosen (${labels.map(readable).join(", ")}).`
      : "The index has no items to compare with.",
    actions: filtered ? [action("Search without labels", clear)] : [],
  });
}

/**
 * Return an error with the service's own sentence.
 *
 * `retry` searches again, which is offered only where that can help; `change` leads to the search
 * box or the choice of a file, `instead` searches with a suggestion.
 */
export function failure(error, { retry, change, instead }) {
  if (error.status === 401 || error.status === 403) return keyForm(error, retry);
  const busy = error.status === 503 || error.status === 429;
  const passing = error.retry ?? (PASSING.has(error.status) || error.status >= 500);
  const again = passing ? action("Try again", retry) : change ? action(change.text, change.act) : null;
  const unknown = error.code === "unknown_words";
  return notice({
    sign: unknown ? "nothing" : "error",
    title: unknown ? "No known words" : titleFor(error, busy),
    text: error.message.replace(unknown && error.notes.length ? /\s*\([^()]*did you mean.*\)/is : /$^/, ""),
    notes: noteList(error.notes.filter(({ suggestions }) => suggestions?.length), null, instead),
    request: passing ? error.request : "",
    actions: again ? [again] : [],
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

/** Return the start page of an index without items. */
export const nothingYet = ({ writable }) =>
  notice({
    sign: "nothing",
    title: "Nothing here yet",
    text: `This index has no items to search. Add some with “proxyhash index add”${writable ? " or over HTTP" : ""}, then reload this page.`,
    actions: [action("Reload", () => location.reload())],
  });

function notice({ sign, title, text, notes = null, request = "", actions, after = null }) {
  return h(
    "div",
    { class: "notice" },
    icon(sign),
    h("h2", {}, title),
    h("p", { dir: "auto" }, plain(sentence(text))),
    notes,
    actions.length ? h("div", { class: "actions" }, actions, after) : null,
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
