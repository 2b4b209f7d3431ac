// WebP with an orientation: the service applies it, Chromium does not.

const TYPES = new Map([[1, "getUint8"], [3, "getUint16"], [4, "getUint32"], [6, "getInt8"], [8, "getInt16"], [9, "getInt32"]]);
const ORIENTATION = 0x0112;
const MOST_ENTRIES = 1000;
const MOST_CHUNKS = 20_000;
const ascii = new TextDecoder("latin1");
// Factors a to f of CanvasRenderingContext2D.transform, for a stored picture of w x h.
const TRANSFORMS = [
  null,
  null,
  (w) => [-1, 0, 0, 1, w, 0],
  (w, h) => [-1, 0, 0, -1, w, h],
  (w, h) => [1, 0, 0, -1, 0, h],
  () => [0, 1, 1, 0, 0, 0],
  (w, h) => [0, 1, -1, 0, h, 0],
  (w, h) => [0, -1, -1, 0, h, w],
  (w) => [0, -1, 1, 0, 0, w],
];

/**
 * Resolves to what a browser is to show of a picture file: the file itself, or of a WebP that has an
 * orientation a PNG with it applied.
 */
export async function uprightPicture(file) {
  const found = await findOrientation(file);
  if (found === null) return file;
  // Without the block, no browser turns it a second time.
  const stored = await createImageBitmap(await withoutBlock(file, found.at));
  const { width: w, height: h } = stored;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = found.orientation > 4 ? [h, w] : [w, h];
  const pen = canvas.getContext("2d");
  pen.transform(...TRANSFORMS[found.orientation](w, h));
  pen.drawImage(stored, 0, 0);
  stored.close();
  return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
}

/** Resolves to the orientation, 2 to 8, and the byte where its chunk begins; null without one. */
async function findOrientation(file) {
  const view = async (from, to) => new DataView(await file.slice(from, to).arrayBuffer());
  const begin = await view(0, 12);
  if (begin.byteLength < 12 || textAt(begin, 0) !== "RIFF" || textAt(begin, 8) !== "WEBP") return null;
  let at = 12;
  for (let count = 0; count < MOST_CHUNKS && at + 8 <= file.size; count += 1) {
    const chunk = await view(at, at + 8);
    const length = chunk.getUint32(4, true);
    if (textAt(chunk, 0) === "EXIF") {
      const orientation = readOrientation(await view(at + 8, at + 8 + length));
      return orientation === 1 ? null : { orientation, at };
    }
    at += 8 + length + (length % 2);
  }
  return null;
}

/** Return the orientation of an Exif block, 1 to 8; 1 if it has none or is damaged. */
function readOrientation(block) {
  const start = block.byteLength >= 6 && textAt(block, 0) === "Exif" ? 6 : 0;
  const view = new DataView(block.buffer, start);
  try {
    const isLittle = { II: true, MM: false }[textAt(view, 0).slice(0, 2)];
    if (isLittle === undefined) return 1;
    const directory = view.getUint32(4, isLittle);
    const entries = Math.min(view.getUint16(directory, isLittle), MOST_ENTRIES);
    for (let entry = directory + 2; entry < directory + 2 + 12 * entries; entry += 12) {
      const type = TYPES.get(view.getUint16(entry + 2, isLittle));
      const isWanted = view.getUint16(entry, isLittle) === ORIENTATION && view.getUint32(entry + 4, isLittle) === 1;
      if (!isWanted || type === undefined) continue;
      const value = view[type](entry + 8, isLittle);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // damaged: it ends too early
  }
  return 1;
}

const withoutBlock = async (file, at) =>
  new Blob([file.slice(0, at), "XXXX", file.slice(at + 4)], { type: "image/webp" });

function textAt(view, at) {
  return ascii.decode(new Uint8Array(view.buffer, view.byteOffset + at, 4));
}
