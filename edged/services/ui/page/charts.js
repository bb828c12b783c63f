// Charts on a canvas: lines over time with a scale that is written, and the strip of episodes.
const LINES = ["#56b4e9", "#e69f00", "#35b48a", "#cc79a7", "#f0e442", "#ff6b57", "#8fd3ff", "#9aa5b1"];

function prepare(canvas) {
  const ratio = window.devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== width * ratio || canvas.height !== height * ratio) Object.assign(canvas, { width: width * ratio, height: height * ratio });
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(document.body);
  pen.font = "12px system-ui, sans-serif";
  return { pen, width, height, ink: style.color, dim: style.getPropertyValue("--dim"), line: style.getPropertyValue("--line"), style };
}

const nice = (most) => { const unit = 10 ** Math.floor(Math.log10(most)); return [1, 2, 5, 10].find((n) => n * unit >= most) * unit; };

// `lines`: name -> [[unix, value or null], ...]
export function draw(canvas, lines, span, unit) {
  const { pen, width, height, dim, line, ink } = prepare(canvas);
  const left = 44, bottom = 34, now = Date.now() / 1000;
  let most = 0;
  for (const points of Object.values(lines)) for (const [, value] of points) most = Math.max(most, value || 0);
  const top = nice(most || 1), x = (at) => left + (1 - (now - at) / span) * (width - left - 4), y = (value) => 6 + (1 - Math.min(value / top, 1)) * (height - bottom - 6);
  pen.strokeStyle = line;
  pen.fillStyle = dim;
  for (const share of [0, .5, 1]) {
    pen.beginPath(); pen.moveTo(left, y(top * share)); pen.lineTo(width, y(top * share)); pen.stroke();
    pen.textAlign = "right"; pen.fillText(`${+(top * share).toPrecision(3)}`, left - 5, y(top * share) + 4);
  }
  pen.textAlign = "left"; pen.fillText(unit, 2, height - bottom + 14);
  pen.textAlign = "right"; pen.fillText("now", width - 2, height - bottom + 14);
  pen.fillText(`-${span < 120 ? `${Math.round(span)} s` : `${Math.round(span / 60)} min`}`, left + 44, height - bottom + 14);
  let at = left;
  pen.textAlign = "left";
  for (const [index, [name, points]] of Object.entries(lines).entries()) {
    pen.strokeStyle = pen.fillStyle = LINES[index % LINES.length];
    pen.lineWidth = 1.6;
    pen.beginPath();
    let before = 0;
    for (const [when, value] of points) {
      if (value === null || value === undefined) { before = 0; continue; }
      if (before && when - before < 5) pen.lineTo(x(when), y(value)); else pen.moveTo(x(when), y(value));
      before = when;
    }
    pen.stroke();
    const last = points.findLast?.(([, value]) => value !== null && value !== undefined)?.[1];
    const text = `${name}${last === undefined ? "" : ` ${+last.toPrecision(3)}`}`;
    pen.fillRect(at, height - 13, 9, 9);
    pen.fillStyle = ink;
    pen.fillText(text, at + 13, height - 4);
    at += pen.measureText(text).width + 26;
  }
}

const KIND = { hold: "--bad", wait: "--warn", camera: "--warn", sensor: "--warn", crash: "--bad" };
export const lasting = (entry) => ["hold", "wait", "camera", "sensor"].includes(entry.what);

// Rows: holds, inputs, moments. Returns the entry at a pixel, for clicks.
export function strip(canvas, entries, span, chosen) {
  const { pen, width, height, dim, line, style } = prepare(canvas);
  const now = Date.now() / 1000, x = (at) => Math.max(0, (1 - (now - at) / span) * width), rows = { hold: 0, wait: 0, camera: 1, sensor: 1 };
  const tall = (height - 16) / 3, boxes = [];
  pen.strokeStyle = line;
  pen.strokeRect(0, 0, width, height - 16);
  pen.fillStyle = dim;
  for (let share = 0; share <= 1; share += .25) {
    const at = new Date((now - span * (1 - share)) * 1000), text = at.toTimeString().slice(0, 5);
    pen.textAlign = share === 0 ? "left" : share === 1 ? "right" : "center";
    pen.fillText(text, share * width, height - 3);
  }
  for (const entry of entries) {
    const from = x(entry.begin), to = lasting(entry) ? x(entry.end ?? now) : from;
    if ((entry.end ?? now) < now - span) continue;
    const row = rows[entry.what] ?? 2, box = [from, row * tall + 2, Math.max(2, to - from), tall - 3];
    pen.fillStyle = style.getPropertyValue(KIND[entry.what] || "--mark");
    pen.fillRect(...box);
    if (entry === chosen) { pen.strokeStyle = style.color; pen.strokeRect(...box); }
    boxes.push([box, entry]);
  }
  return (px, py) => {
    let best = null, near = 12;
    for (const [[left, top, wide, high], entry] of boxes) {
      if (py < top || py > top + high) continue;
      const away = Math.max(left - px, px - left - wide, 0);
      if (away < near) [near, best] = [away, entry];
    }
    return best;
  };
}
