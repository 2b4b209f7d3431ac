// Boxes and labels on a canvas: over the picture, and in the picture to download.

import { colorOf } from "./colors.js";
import { placeLabels } from "./labels.js";

const FONT_PX = 13;
const LABEL_PX = 18;
const LINE_PX = 2;

/**
 * Draw detections, best first. `pen` is scaled to CSS pixels, the picture is `w` x `h` of them, and
 * `scale` of them are a pixel of the picture. Labels are `text` times as large as usual. `active` is
 * the detection to emphasise, or null.
 */
export function drawDetections(pen, detections, { w, h, scale, text = 1, active = null }) {
  pen.font = `600 ${FONT_PX * text}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  const boxes = detections.map(({ box: [cx, cy, bw, bh] }) => ({
    x: (cx - bw / 2) * scale,
    y: (cy - bh / 2) * scale,
    w: bw * scale,
    h: bh * scale,
  }));
  const captions = detections.map(captionOf);
  const sizes = captions.map((caption) => ({
    w: Math.ceil(pen.measureText(caption).width) + 8,
    h: Math.round(LABEL_PX * text),
  }));
  const places = placeLabels(boxes, sizes, { w, h });
  // The best one is drawn last, over all others.
  for (let i = detections.length - 1; i >= 0; i -= 1) {
    if (detections[i] !== active) {
      pen.globalAlpha = active === null ? 1 : 0.3;
      drawBox(pen, boxes[i], colorOf(detections[i].label), LINE_PX);
    }
  }
  for (let i = detections.length - 1; i >= 0; i -= 1) {
    if (detections[i] !== active) {
      pen.globalAlpha = active === null ? 1 : 0.3;
      drawLabel(pen, captions[i], places[i], sizes[i], colorOf(detections[i].label));
    }
  }
  pen.globalAlpha = 1;
  const at = detections.indexOf(active);
  if (at >= 0) {
    const color = colorOf(active.label);
    drawBox(pen, boxes[at], color, 2 * LINE_PX);
    drawLabel(pen, captions[at], places[at], sizes[at], color);
  }
}

function captionOf({ label, score }) {
  return `${label} ${score.toFixed(2)}`;
}

function drawBox(pen, { x, y, w, h }, color, line) {
  // Dark around the colour: visible on any picture.
  pen.strokeStyle = "rgb(0 0 0 / .55)";
  pen.lineWidth = line + 2;
  pen.strokeRect(x, y, w, h);
  pen.strokeStyle = color;
  pen.lineWidth = line;
  pen.strokeRect(x, y, w, h);
}

function drawLabel(pen, text, { x, y }, { w, h }, color) {
  pen.fillStyle = color;
  pen.beginPath();
  pen.roundRect(x, y, w, h, 3);
  pen.fill();
  pen.fillStyle = "black";
  pen.fillText(text, x + 4, y + h / 2 + 0.5);
}

/** Resolves to the picture with boxes as a file of its full size: JPEG of a JPEG, otherwise PNG. */
export async function drawnPicture(image, detections, type) {
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  // As if it were shown 1,200 pixels wide: labels of a large picture are larger.
  const zoom = Math.max(1, Math.max(canvas.width, canvas.height) / 1200);
  pen.scale(zoom, zoom);
  drawDetections(pen, detections, {
    w: canvas.width / zoom,
    h: canvas.height / zoom,
    scale: 1 / zoom,
  });
  return new Promise((resolve) => {
    canvas.toBlob(resolve, type === "image/jpeg" ? "image/jpeg" : "image/png", 0.92);
  });
}
