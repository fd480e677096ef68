/**
 * A search as a link, and back.
 *
 * A search is {query, target, k, labels, match, order, by}; its query is null, {text}, {id, modality} or
 * {code}. Images that were uploaded are in no link: their code is.
 */

const DEFAULT_K = 12;
const WAYS = ["codes", "words"]; // but for both together, which is the default
const CODE = /^[0-9a-f]+$/i;

/** Return the search that a link's parameters stand for; what they lack or get wrong is default. */
export function readAddress(parameters, info) {
  const get = (name) => parameters.get(name);
  const wanted = get("for");
  const k = Number(get("k") ?? DEFAULT_K);
  return {
    query: readQuery(get),
    target: info.modalities[wanted] ? wanted : defaultTarget(info),
    k: Number.isInteger(k) && k >= 1 ? Math.min(k, info.limits.k) : DEFAULT_K,
    labels: [...new Set(parameters.getAll("labels"))],
    match: get("match") === "all" ? "all" : "any",
    order: ordersOf(info).find((order) => order === get("order")),
    by: info.words && WAYS.includes(get("by")) ? get("by") : null,
  };
}

/** Return what results can be ordered by, besides the Hamming distance. */
export const ordersOf = ({ vectors }) => (vectors ? ["asymmetric", "vectors"] : ["asymmetric"]);

/** Return the number of results that comes after k; k itself where the service gives no more. */
export const moreThan = (k, { limits }) => Math.min(2 * k, Math.max(k, limits.k));

/** Return the link of a search, "?..." or "." for the start page. */
export function writeAddress({ query, target, k, labels, match, order, by }) {
  const parameters = new URLSearchParams();
  if (query?.text !== undefined) parameters.set("q", query.text);
  if (query?.id !== undefined) parameters.set("id", query.id);
  if (query?.modality) parameters.set("from", query.modality);
  if (query?.code !== undefined) parameters.set("code", query.code);
  if (query) parameters.set("for", target);
  if (k !== DEFAULT_K) parameters.set("k", k);
  for (const label of labels) parameters.append("labels", label);
  if (match === "all") parameters.set("match", "all");
  if (order) parameters.set("order", order);
  if (by && query?.text !== undefined) parameters.set("by", by);
  return parameters.size ? `?${parameters}` : ".";
}

/** Return the body of a search as the service takes it; the query's part is {} for an image. */
export function toRequest({ query, target, k, labels, match, order, by }) {
  const conditions = labels.map((label) => ({ field: "labels", contains: label }));
  const filter = conditions.length ? { [match === "all" ? "and" : "or"]: conditions } : undefined;
  const mode = by && query?.text !== undefined ? by : undefined;
  return { ...query, target, k, filter, rerank: order, mode, explain: true };
}

function readQuery(get) {
  const from = get("from");
  if (get("q")?.trim()) return { text: get("q").trim() };
  if (get("id")) {
    return { id: get("id"), ...(from === "image" || from === "text" ? { modality: from } : {}) };
  }
  return CODE.test(get("code") ?? "") ? { code: get("code").toLowerCase() } : null;
}

function defaultTarget(info) {
  return info.modalities.image || !info.modalities.text ? "image" : "text";
}
