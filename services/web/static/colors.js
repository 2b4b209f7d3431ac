// The colour of a class: the same on every visit, in the table, over the picture and in its download.

const HUES = 12;
// Lightness, and degrees of hue beside the others'. Black text is legible on both.
const LEVELS = [[0.86, 0], [0.7, 15]];
// With it, few classes of COCO that are often seen together have the same colour.
const SEED = 7471;

/** Return the colour of a class, one of 24; it depends on the label alone. */
export function colorOf(label) {
  const index = hash(label) % (HUES * LEVELS.length);
  const [lightness, offset] = LEVELS[Math.floor(index / HUES)];
  return `oklch(${lightness} 0.17 ${(index % HUES) * (360 / HUES) + offset})`;
}

/** FNV-1a over the UTF-8 bytes, with another start, and its halves mixed. */
function hash(text) {
  let value = SEED;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 16777619);
  return (value ^ (value >>> 15)) >>> 0;
}
