/** Images that people give: chosen, dropped or pasted. */

import { $ } from "./dom.js";

/** Call `given` with each image file that somebody chooses, drops on the page or pastes. */
export function watchImages(given) {
  const cover = $("drop");
  const input = $("file");
  input.addEventListener("change", () => {
    if (input.files.length) given(input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  });
  addEventListener("dragenter", (event) => { if (holdsFile(event)) cover.hidden = false; });
  addEventListener("dragover", (event) => { if (holdsFile(event)) event.preventDefault(); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) cover.hidden = true; });
  addEventListener("drop", (event) => {
    cover.hidden = true;
    if (!holdsFile(event)) return;
    event.preventDefault(); // else the browser leaves the page to show the file
    given(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => isImage(type));
    if (!file) return;
    event.preventDefault();
    given(file);
  });
}

/** Return why a file cannot be searched with, as a sentence, or null. */
export function refusal(file, limit) {
  if (!isImage(file.type)) return `The file ${file.name} is not an image; choose a JPEG, PNG or WebP file.`;
  if (file.size <= limit) return null;
  const [size, most] = [megabytes(file.size), megabytes(limit)];
  return `The file ${file.name} has ${size}; the service accepts at most ${most}. Choose a smaller file.`;
}

const megabytes = (bytes) =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;

const isImage = (type) => type.startsWith("image/");

const holdsFile = (event) => event.dataTransfer?.types.includes("Files");
