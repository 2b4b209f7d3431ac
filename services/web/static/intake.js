// How pictures come in: dropped, pasted, chosen, from a sample or from the camera.

import { element } from "./dom.js";
import { setUpCamera } from "./camera.js";
import { address } from "./service.js";

/** The URLs of those files that are samples of the service. */
export const sampleUrls = new WeakMap();

/** `take(files)` is called with each batch of files, `say(text)` with what went wrong. */
export function setUpIntake(take, say) {
  element("file").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same file may be chosen again
  });
  setUpDrop(take);
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length > 0) {
      event.preventDefault();
      take(files);
    }
  });
  for (const button of element("samples").querySelectorAll("[data-sample]")) {
    button.addEventListener("click", async () => {
      try {
        take([await fetchSample(button.dataset)]);
      } catch {
        say("The sample could not be loaded: the service cannot be reached.");
      }
    });
  }
  setUpCamera(take);
}

async function fetchSample({ sample, name }) {
  const url = address(`static/${sample}`);
  const response = await fetch(url);
  if (!response.ok) throw new Error(response.statusText);
  const file = new File([await response.blob()], name, { type: "image/webp" });
  sampleUrls.set(file, url.href);
  return file;
}

/** The whole page takes files; entering a child element does not leave it. */
function setUpDrop(take) {
  const zone = element("drop");
  let depth = 0;
  const mark = (change) => {
    depth = Math.max(0, depth + change);
    zone.classList.toggle("over", depth > 0);
  };
  addEventListener("dragenter", () => mark(1));
  addEventListener("dragleave", () => mark(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    mark(-Infinity);
    const files = [...event.dataTransfer.files];
    if (files.length > 0) take(files);
  });
}
