// Where the label of each box goes. All numbers are CSS pixels of the picture as it is shown.

// A box of this area or less must not vanish under a label.
const SMALL = 48 * 48;

/**
 * Return {x, y} of each label. `boxes` are {x, y, w, h}, best first, `sizes` are {w, h}; labels stay
 * within `bounds`, {w, h}.
 *
 * A label is above its box; below it, or at its other end, where it would cover another label or a
 * small box. It is inside only where there is room neither above nor below.
 */
export function placeLabels(boxes, sizes, bounds) {
  const small = boxes.filter((box) => box.w * box.h <= SMALL);
  const placed = [];
  for (const [i, box] of boxes.entries()) {
    const size = sizes[i];
    let best = null;
    for (const [rank, at] of candidates(box, size, bounds).entries()) {
      const label = { ...at, ...size };
      const cost =
        rank +
        sum(placed, (other) => overlap(label, other)) +
        4 * sum(small, (other) => overlap(label, other));
      if (best === null || cost < best.cost) best = { ...label, cost };
    }
    placed.push(best);
  }
  return placed.map(({ x, y }) => ({ x, y }));
}

function candidates(box, size, bounds) {
  const within = (x) => Math.max(0, Math.min(x, bounds.w - size.w));
  const left = within(box.x);
  const right = within(box.x + box.w - size.w);
  const above = box.y - size.h;
  const below = box.y + box.h;
  const found = [];
  if (above >= 0) found.push({ x: left, y: above }, { x: right, y: above });
  if (below + size.h <= bounds.h) found.push({ x: left, y: below }, { x: right, y: below });
  // A large object at the upper edge: a label below it would look like another object's.
  if (above < 0 && box.h > 3 * size.h) found.unshift({ x: left, y: Math.max(0, box.y) });
  if (found.length === 0) found.push({ x: left, y: Math.max(0, box.y) });
  return found;
}

function overlap(a, b) {
  const w = Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x);
  const h = Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y);
  return w > 0 && h > 0 ? w * h : 0;
}

function sum(items, value) {
  return items.reduce((total, item) => total + value(item), 0);
}
