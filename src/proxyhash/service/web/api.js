/** The service, as functions. The key, where one is needed, lives as long as the tab. */

const KEY = "proxyhash-key";
const OURS = ["v1/thumbnails/", "v1/originals/"];
const base = new URL(".", document.baseURI);

/** The service, or the way to it, said no. `status` is 0 where nothing answered. */
export class ServiceError extends Error {
  constructor(status, message, { code = "", request = "", retry, retryAfter = null, notes = [] } = {}) {
    super(message);
    Object.assign(this, { status, code, request, retry, retryAfter, notes });
  }
}

let ownKey = null; // where the browser forbids storage

export const keyIsSet = () => readKey() !== null;

export function setKey(key) {
  ownKey = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // it then lasts until the page is left
  }
}

export const fetchInfo = () => call("v1/info");

/** Some items from all over the collection; another seed gives others. */
export const fetchSample = (count, seed) => call(`v1/sample?count=${count}&seed=${seed}`);

/** Search; `body` is of `toRequest`, `file` an image or null. */
export function search(body, file, signal) {
  if (!file) {
    const headers = { "Content-Type": "application/json" };
    return call("v1/search", { method: "POST", headers, body: JSON.stringify(body), signal });
  }
  const form = new FormData();
  form.set("image", file, file.name || "image");
  form.set("options", JSON.stringify(body));
  return call("v1/search/image", { method: "POST", body: form, signal });
}

export const thumbnailOf = (id) => `/v1/thumbnails/${inAddress(id)}`;

export const originalOf = (id) => `/v1/originals/${inAddress(id)}`;

const inAddress = (id) => id.split("/").map(encodeURIComponent).join("/");

/**
 * Let an image show a thumbnail or an original. Images cannot send a key, so with one the bytes
 * are fetched and shown from memory. `lost` is called when there is no image.
 */
export async function showImage(image, path, lost) {
  image.addEventListener("error", lost, { once: true });
  const address = new URL(path.replace(/^\/+/, ""), base);
  const ours = OURS.some((folder) => address.href.startsWith(new URL(folder, base).href));
  if (!ours) return lost();
  if (!keyIsSet()) {
    image.src = address.href;
    return undefined;
  }
  try {
    const answer = await fetch(address, { headers: authorization() });
    if (!answer.ok) return lost();
    const url = URL.createObjectURL(await answer.blob());
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.src = url;
  } catch {
    lost();
  }
  return undefined;
}

async function call(path, { headers = {}, ...options } = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, base), {
      ...options,
      headers: { ...headers, ...authorization() },
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "The service does not answer. Is it running, and are you online?");
  }
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const { code, message, request_id: request, retry, notes } = body?.error ?? {};
  throw new ServiceError(
    answer.ok ? 0 : answer.status,
    message ?? `The service answered ${answer.status} without a reason.`,
    { code, request, retry, notes: notes ?? [], retryAfter: seconds(answer.headers.get("Retry-After")) },
  );
}

function seconds(header) {
  const value = Number(header ?? NaN);
  return Number.isFinite(value) && value >= 0 ? Math.ceil(value) : null;
}

function readKey() {
  try {
    return sessionStorage.getItem(KEY) ?? ownKey;
  } catch {
    return ownKey;
  }
}

function authorization() {
  return keyIsSet() ? { Authorization: `Bearer ${readKey()}` } : {};
}
