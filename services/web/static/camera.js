// A picture from the camera. Browsers have cameras only for https and for this machine.

import { element } from "./dom.js";

export function setUpCamera(take) {
  const button = element("camera");
  if (navigator.mediaDevices?.getUserMedia === undefined) return;
  const dialog = element("camera-dialog");
  const video = element("camera-video");
  button.hidden = false;
  button.addEventListener("click", () => open(dialog, video));
  element("camera-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => stop(video));
  element("camera-take").addEventListener("click", async () => {
    take([await capture(video)]);
    dialog.close();
  });
}

async function open(dialog, video) {
  const problem = element("camera-problem");
  const takes = element("camera-take");
  problem.hidden = true;
  video.hidden = takes.hidden = false;
  takes.disabled = true;
  dialog.showModal();
  try {
    const wanted = { facingMode: "environment", width: { ideal: 1920 } };
    const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
    video.srcObject = stream;
    if (!dialog.open) stop(video);
    await video.play();
    takes.disabled = false;
  } catch (error) {
    if (!dialog.open) return;
    problem.textContent = `The camera cannot be used: ${error.message}`;
    problem.hidden = false;
    video.hidden = takes.hidden = true;
  }
}

function stop(video) {
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  video.srcObject = null;
}

async function capture(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.92); });
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File([blob], `camera-${time}.jpg`, { type: "image/jpeg" });
}
