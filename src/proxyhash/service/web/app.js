/** The page: reads the address, asks the service, shows the answer. */

import { CHOICES_OF_K, readAddress, toRequest, writeAddress } from "./address.js";
import { fetchInfo, search as ask, ServiceError } from "./api.js";
import { openDetail } from "./detail.js";
import { $, h, icon } from "./dom.js";
import { showFilters } from "./filters.js";
import { hitList, skeletons } from "./hits.js";
import { watchKeys } from "./keyboard.js";
import { failure, nothing, welcome } from "./notices.js";
import { refusal, watchImages } from "./image.js";
import { queryPanel, titleOf } from "./query.js";
import { between, compared, milliseconds, number, thing } from "./words.js";

const PATIENCE = 150; // ms until the old results give way to empty cards
const REMEMBERED = 20;

let info = null;
let current = null;
let running = null;
const early = []; // what was asked before the service had said what it offers
const images = new Map(); // what was uploaded, by its code
const answers = new Map(); // what was found, by its address, so that Back is immediate

async function start() {
  try {
    info = await fetchInfo();
  } catch (error) {
    return showFailure(error, start);
  }
  const typed = $("words").value;
  offerChoices();
  if (early.length) {
    current = readAddress(new URLSearchParams(location.search), info);
    return early.splice(0).forEach((action) => action());
  }
  const shown = visit();
  if (typed) $("words").value = typed;
  return shown;
}

/** Act now, or as soon as the service has said what it offers. */
function whenReady(action) {
  if (info) action();
  else early.push(action);
}

/** Show what the address says. */
function visit() {
  const wanted = readAddress(new URLSearchParams(location.search), info);
  const known = answers.get(writeAddress(wanted));
  if (!known) return run(wanted, { push: false });
  running?.abort();
  current = wanted;
  showControls();
  return showAnswer(known);
}

/** Search, or return to the start page when there is no query. */
async function run(wanted, { push = true, file = null } = {}) {
  running?.abort();
  const own = (running = new AbortController());
  current = wanted;
  if (push && !file) remember(wanted);
  showControls(file);
  if (!wanted.query && !file) {
    showWelcome();
    return;
  }
  const waiting = setTimeout(() => showWaiting(wanted), PATIENCE);
  $("results").setAttribute("aria-busy", "true");
  try {
    const begun = performance.now();
    const answer = await ask(toRequest(wanted), file, own.signal);
    if (own.signal.aborted) return;
    const found = { answer, roundTrip: performance.now() - begun };
    if (file) keepImage(answer, file, push);
    if (answers.size >= REMEMBERED) answers.delete(answers.keys().next().value);
    answers.set(writeAddress(current), found);
    if (file) showControls(); // only then: what was typed meanwhile stays
    showAnswer(found);
  } catch (error) {
    const again = () => run(wanted, { push: Boolean(file), file });
    if (!own.signal.aborted) showFailure(error, again);
  } finally {
    clearTimeout(waiting);
  }
}

const change = (part) => run({ ...current, ...part });

function searchImage(file) {
  const why = info.model.image_encoder
    ? refusal(file, info.limits.upload_bytes)
    : "This model has no image encoder. Search with a text.";
  if (why) showFailure(new ServiceError(400, why), () => $("file").click());
  else run({ ...current, query: null }, { file });
}

function keepImage({ query }, file, push) {
  images.set(query.code, { url: URL.createObjectURL(file), name: file.name || "Pasted image" });
  current = { ...current, query: { code: query.code } };
  if (push) remember(current);
}

function remember(wanted) {
  const address = writeAddress(wanted);
  const same = new URL(address, location.href).search === location.search;
  history[same ? "replaceState" : "pushState"](null, "", address);
}

const alike = (modality) => (hit, target) =>
  change({ query: { id: hit.id, modality }, target });

function showWelcome() {
  $("tools").hidden = current.labels.length === 0; // the start page has no need of them
  document.title = "proxyhash";
  show({ status: "", content: welcome(info, (text) => change({ query: { text } })) });
}

function showAnswer({ answer, roundTrip }) {
  const { hits, target, query } = answer;
  const shown = query.text || query.id ? undefined : images.get(query.code);
  const chosen = current.labels;
  const amount = compared(answer) + among(chosen);
  const actions = {
    chosen,
    alike: alike(target),
    open: (hit) => openDetail(hit, answer, { chosen, alike: alike(target), modalities: info.modalities }),
  };
  document.title = `${titleOf(query, shown)} · proxyhash`;
  const copied = () => { $("status").textContent = "Link copied."; };
  show({
    panel: queryPanel(answer, { shown, roundTrip, copied }),
    status: hits.length
      ? [
          h("b", {}, `${number(hits.length)} nearest`),
          ` of ${amount}, ${between(hits.map(({ distance }) => distance))}`,
          h("span", {}, `, in ${milliseconds(answer.took_ms.total)}`),
        ]
      : `Nothing found among ${amount}`,
    content: hits.length ? hitList(answer, actions) : nothing(chosen, () => change({ labels: [] })),
  });
}

const among = ({ length }) => ["", " with this label"][length] ?? " with these labels";

function showFailure(error, retry) {
  show({ status: "", content: failure(error, retry), urgent: true });
}

function showWaiting({ target, k }) {
  show({ status: "Searching…", content: skeletons(target, k), busy: true });
}

/** Fill the page; who had the focus on what is gone then has it on the results. */
function show({ panel = null, status, content, busy = false, urgent = false }) {
  const place = $("content");
  const focused = document.activeElement;
  $("results").setAttribute("aria-busy", String(busy));
  if (!busy) {
    $("query").hidden = panel === null;
    $("query").replaceChildren(...(panel ?? []));
  }
  $("main").classList.toggle("split", !$("query").hidden);
  $("status").replaceChildren(...[status].flat());
  if (urgent) place.setAttribute("role", "alert");
  else place.removeAttribute("role");
  place.replaceChildren(content);
  if (focused && !focused.isConnected) $("results").focus({ preventScroll: true });
}

function showControls(file = null) {
  $("tools").hidden = false;
  const { query, target, k, labels, match } = current;
  $("words").value = query?.text ?? "";
  for (const radio of document.querySelectorAll("[name=for]")) radio.checked = radio.value === target;
  showChoicesOfK(k);
  showFilters($("labels"), info.labels, { chosen: labels, match }, (chosen, joined) =>
    change({ labels: chosen, match: joined }),
  );
  const shown = images.get(query?.code);
  const name = file ? file.name : query && query.text === undefined ? titleOf(query, shown) : null;
  $("words").placeholder = name ? "" : invitation();
  $("given").replaceChildren(...(name ? [given(name, shown)] : []));
}

function given(name, shown) {
  const remove = h(
    "button",
    { type: "button", "aria-label": `Remove ${name}`,
      onclick: () => { change({ query: null }); $("words").focus(); } },
    icon("close"),
  );
  return h("span", { class: "given" }, shown ? h("img", { src: shown.url, alt: "" }) : null, h("span", {}, name), remove);
}

function invitation() {
  if (!info.model.text_encoder) return "This model has no text encoder; search with an image";
  return info.model.image_encoder ? "Describe it, or drop an image" : "Describe it";
}

function showChoicesOfK(k) {
  const most = info.limits.k;
  const choices = [...new Set([...CHOICES_OF_K, k])].filter((each) => each <= most).sort((a, b) => a - b);
  $("k").replaceChildren(...choices.map((each) => h("option", { value: each, selected: each === k }, each)));
}

function offerChoices() {
  const { model, modalities, limits } = info;
  const words = $("words");
  words.maxLength = limits.text;
  words.disabled = !model.text_encoder;
  $("choose").hidden = !model.image_encoder;
  for (const radio of document.querySelectorAll("[name=for]")) radio.disabled = !modalities[radio.value];
  const coders = [model.text_encoder, model.image_encoder].filter(Boolean).join(" and ");
  $("about").replaceChildren(
    h("p", {}, `proxyhash ${info.version}, ${info.engine} engine, ${info.bits} bits from ${coders || "no encoder"}, `,
      "model ", h("code", {}, String(model.fingerprint ?? "unknown").slice(0, 12))),
    h("p", { class: "keys" }, h("kbd", {}, "/"), " search ", h("kbd", {}, "↑↓←→"), " move ",
      h("kbd", {}, "Enter"), " open ", h("kbd", {}, "m"), " more like this ", h("kbd", {}, "Esc"), " back"),
  );
}

function listen() {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("words").value.trim();
    if (text) whenReady(() => change({ query: { text } }));
  });
  $("home").addEventListener("click", (event) => {
    if (!info || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    run(readAddress(new URLSearchParams(), info));
  });
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // no "#results" in links
    $("results").focus();
  });
  $("target").addEventListener("change", ({ target }) => whenReady(() => change({ target: target.value })));
  $("k").addEventListener("change", () => change({ k: Number($("k").value) }));
  $("detail").addEventListener("click", ({ target }) => { if (target === $("detail")) target.close(); });
  addEventListener("popstate", () => { if (info) visit(); });
  watchImages((file) => whenReady(() => searchImage(file)));
  watchKeys();
}

listen();
start();
