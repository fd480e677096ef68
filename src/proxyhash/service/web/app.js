/** The page: reads the address, asks the service, shows the answer. */

import { moreThan, ordersOf, readAddress, toRequest, writeAddress } from "./address.js";
import { fetchInfo, search as ask, ServiceError } from "./api.js";
import { offerChoices, showGiven } from "./box.js";
import { openDetail } from "./detail.js";
import { $, h } from "./dom.js";
import { showFilters } from "./filters.js";
import { appendHits, hitList, skeletons } from "./hits.js";
import { watchKeys } from "./keyboard.js";
import { failure, noteList, nothing } from "./notices.js";
import { refusal, watchImages } from "./image.js";
import { asked, queryPanel, titleOf } from "./query.js";
import { welcome } from "./start.js";
import { compared, number, plain } from "./words.js";

const PATIENCE = 150; // ms until the old results give way to empty cards
const REMEMBERED = 20;

let info = null;
let current = null;
let running = null;
let latest = []; // the hits that are shown
const early = []; // what was asked before the service had said what it offers
const images = new Map(); // what was uploaded, by its code
const payloads = new Map(); // of items that asked, so that they have a name
const answers = new Map(); // what was found, by its address, so that Back is immediate

async function start() {
  try {
    info = await fetchInfo();
  } catch (error) {
    return showFailure(error, start);
  }
  const typed = $("words").value;
  offerChoices(info);
  if (early.length) {
    current = readAddress(new URLSearchParams(location.search), info);
    return early.splice(0).forEach((action) => action());
  }
  const shown = visit();
  if (typed) $("words").value = typed;
  const untouched = document.activeElement === document.body;
  if (!current.query && untouched && matchMedia("(hover: hover)").matches) $("words").focus();
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
  const waiting = setTimeout(() => showWaiting(wanted, file), PATIENCE);
  $("results").setAttribute("aria-busy", "true");
  try {
    const found = await find(wanted, file, own.signal);
    if (own.signal.aborted) return;
    if (file) keepImage(found.answer, file, push);
    keepAnswer(found);
    if (file) showControls(); // only then: what was typed meanwhile stays
    showAnswer(found);
  } catch (error) {
    const again = () => run(wanted, { push: Boolean(file), file });
    if (!own.signal.aborted) showFailure(error, again, file);
  } finally {
    clearTimeout(waiting);
  }
}

async function find(wanted, file, signal) {
  const begun = performance.now();
  const answer = await ask(toRequest(file ? { ...wanted, query: null } : wanted), file, signal);
  return { answer, roundTrip: performance.now() - begun };
}

const change = (part) => run({ ...current, ...part });

/** Order results by another distance, such as "asymmetric"; undefined for the Hamming distance. */
function orderBy(order) {
  const file = images.get(current.query?.code)?.file;
  if (file) run({ ...current, order, query: null }, { file });
  else change({ order });
}

/** Return what the results of a query can be ordered by: codes alone have no real-valued outputs. */
function ordersFor(query, shown) {
  if (query.text || shown?.file) return ordersOf(info);
  return query.id ? ordersOf(info).filter((order) => order === "vectors") : [];
}

/** Find results by codes, by words or by both; the choice keeps the focus. */
async function findBy(way) {
  await change({ by: way === "both" ? null : way });
  document.querySelector(".by :checked")?.focus();
}

/** Search for more of the same, and add them below; what is there stays where it is. */
async function showMore() {
  running?.abort();
  const own = (running = new AbortController());
  const wanted = { ...current, k: moreThan(current.k, info) };
  $("more").setAttribute("aria-busy", "true");
  try {
    // An image is asked with again: its code alone is as sure of one bit as of any other.
    const file = (wanted.order && images.get(wanted.query.code)?.file) || null;
    const found = await find(wanted, file, own.signal);
    if (own.signal.aborted) return;
    const before = [...document.querySelectorAll("#hits .hit")].length;
    const { hits } = found.answer;
    // Where words have a say in the order, a longer list may begin in another way.
    const same = hits.length > before && latest.every(({ id }, place) => hits[place].id === id);
    current = wanted;
    history.replaceState(null, "", writeAddress(current));
    keepAnswer(found);
    showAnswer(found, { below: same });
  } catch (error) {
    if (!own.signal.aborted) $("more").append(h("p", { role: "alert" }, plain(error.message)));
  } finally {
    $("more").removeAttribute("aria-busy");
  }
}

function searchImage(file) {
  const why = info.model.image_encoder
    ? refusal(file, info.limits.upload_bytes)
    : "This model has no image encoder. Search with a text.";
  if (why) showFailure(new ServiceError(400, why), null, file);
  else run({ ...current, query: null }, { file });
}

function keepImage({ query }, file, push) {
  if (images.get(query.code)?.file !== file) {
    images.set(query.code, { url: URL.createObjectURL(file), name: file.name || "Pasted image", file });
  }
  current = { ...current, query: { code: query.code } };
  if (push) remember(current);
}

function keepAnswer(found) {
  const { query } = found.answer;
  if (query.id) payloads.set(query.id, query.payload ?? {});
  if (answers.size >= REMEMBERED) answers.delete(answers.keys().next().value);
  answers.set(writeAddress(current), found);
}

function remember(wanted) {
  const address = writeAddress(wanted);
  const same = new URL(address, location.href).search === location.search;
  history[same ? "replaceState" : "pushState"](null, "", address);
}

const alike = (modality) => (hit, target) => {
  payloads.set(hit.id, hit.payload);
  scrollTo(0, 0);
  change({ query: { id: hit.id, modality }, target });
};

/** Search with what a note suggests in place of what was not understood. */
function instead({ kind, subject }, word) {
  const { query, labels } = current;
  if (kind === "unknown_label") {
    change({ labels: [...new Set(labels.map((label) => (label === subject ? word : label)))] });
    return;
  }
  const written = subject.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const place = new RegExp(`(?<![\\p{L}\\p{N}])${written}(?![\\p{L}\\p{N}])`, "iu");
  const text = query?.text ?? "";
  change({ query: { text: place.test(text) ? text.replace(place, () => word) : word } });
}

function showWelcome() {
  $("tools").hidden = current.labels.length === 0; // the start page has no need of them
  document.title = "proxyhash";
  const actions = {
    ask: (text) => change({ query: { text } }),
    alike: (item, modality) => alike(modality)(item, modality),
  };
  show({ status: "", content: welcome(info, actions) });
}

function showAnswer({ answer, roundTrip }, { below = false } = {}) {
  const { hits, target, query } = answer;
  latest = hits;
  const shown = query.text || query.id ? undefined : images.get(query.code);
  const chosen = current.labels;
  const actions = {
    chosen,
    alike: alike(target),
    open: (hit, options) =>
      openDetail(hit, answer, { ...options, chosen, alike: alike(target), closed: returnTo,
        modalities: info.modalities, originals: info.originals }),
  };
  const title = titleOf(query, shown);
  document.title = `${plain(title)} · proxyhash`;
  if (!shown && query.id) showGiven(title, { query, model: info.model, remove: removeQuery });
  const list = below ? $("hits") : null;
  const first = list ? appendHits(list, answer, actions) : null;
  const copied = () => { $("status").textContent = "Link copied."; };
  show({
    panel: queryPanel(answer, { shown, roundTrip, copied, orderBy, orders: ordersFor(query, shown),
      findBy: info.words && query.text ? findBy : null }),
    status: hits.length ? found(answer, among(chosen)) : `Nothing found among ${compared(answer)}${among(chosen)}`,
    notes: noteList(answer.notes, answer.words, instead),
    content: list ?? (hits.length ? hitList(answer, actions) : nothing(chosen, () => change({ labels: [] }))),
    more: moreResults(answer),
  });
  first?.querySelector(".open").focus({ preventScroll: true });
}

/** How many of how many, and whether others are just as near: "24 equally near, showing 12". */
function found(answer, which) {
  const { hits, mode } = answer;
  const tied = tiesOf(answer);
  const level = hits[0].distance === hits.at(-1).distance;
  const all = `${compared(answer)}${which}`;
  if (tied && level) return [h("b", {}, `${number(hits.length + tied)} equally near`), `, showing ${number(hits.length)} of ${all}`];
  if (mode === "words") return [h("b", {}, `${number(hits.length)} with these words`), ` among ${all}`];
  const more = tied ? `; ${number(tied)} more ${tied === 1 ? "is" : "are"} as near as the last` : "";
  return [h("b", {}, `${number(hits.length)} nearest`), ` of ${all}${more}`];
}

/** How many items are as near as the last hit without being one; 0 where that is unknown. */
const tiesOf = ({ hits, explain }) => Math.max(0, (explain?.within ?? 0) - hits.length);

function moreResults({ hits, searched }) {
  if (!hits.length || hits.length < current.k || hits.length === searched) return null;
  return moreThan(current.k, info) > current.k
    ? h("button", { class: "go second", type: "button", onclick: showMore }, "Show more")
    : h("p", {}, `This service shows ${number(current.k)} at most.`);
}

const returnTo = (place) =>
  document.querySelectorAll("#hits .hit")[place]?.querySelector(".open").focus();

function removeQuery() {
  change({ query: null });
  $("words").focus();
}

const among = ({ length }) => ["", " with this label"][length] ?? " with these labels";

function showFailure(error, retry, file = null) {
  const toWords = { text: "Change the search", act: () => { $("words").focus(); $("words").select(); } };
  const toFile = { text: "Choose another image", act: () => $("file").click() };
  const home = { text: "Go to the start page", act: () => change({ query: null }) };
  const change_ = file ? toFile : current?.query?.text !== undefined ? toWords : info && home;
  show({ status: "", content: failure(error, { retry, change: change_, instead }), urgent: true });
}

function showWaiting({ query, target, k }, file) {
  const named = { ...query, payload: payloads.get(query?.id) };
  const shown = images.get(query?.code) ?? (file ? { name: file.name || "Pasted image" } : undefined);
  show({ panel: [asked(named, shown)], status: "Searching…", content: skeletons(target, k), busy: true });
}

/** Fill the page; who had the focus on what is gone then has it on the results. */
function show({ panel = null, status, notes = null, content, more = null, busy = false, urgent = false }) {
  const place = $("content");
  const focused = document.activeElement;
  $("results").setAttribute("aria-busy", String(busy));
  $("query").hidden = panel === null;
  $("query").replaceChildren(...(panel ?? []).flat());
  $("status").replaceChildren(...[status].flat());
  $("notes").replaceChildren(...[notes].filter(Boolean));
  if (urgent) place.setAttribute("role", "alert");
  else place.removeAttribute("role");
  if (place.firstChild !== content) place.replaceChildren(content);
  $("more").replaceChildren(...[more].flat().filter(Boolean));
  if (focused && !focused.isConnected) $("results").focus({ preventScroll: true });
}

function showControls(file = null) {
  $("tools").hidden = info.labels.length === 0;
  const { query, target, labels, match } = current;
  $("words").value = query?.text ?? "";
  for (const radio of document.querySelectorAll("[name=for]")) radio.checked = radio.value === target;
  showFilters($("labels"), info.labels, { chosen: labels, match }, (chosen, joined) =>
    change({ labels: chosen, match: joined }),
  );
  const shown = images.get(query?.code);
  const named = { ...query, payload: payloads.get(query?.id) };
  const name = file ? file.name : query && query.text === undefined ? titleOf(named, shown) : null;
  showGiven(name, { query, shown, model: info.model, remove: removeQuery });
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
  $("detail").addEventListener("click", ({ target }) => { if (target === $("detail")) target.close(); });
  addEventListener("popstate", () => { if (info) visit(); });
  watchImages((file) => whenReady(() => searchImage(file)));
  watchKeys();
}

listen();
start();
