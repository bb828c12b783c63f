// The live picture: the camera's frame, and over it what the bus says was found, drawn here from the bus's own numbers.
import { inflate, view } from "./net.js";

const PALETTE = [[86, 180, 233], [240, 228, 66], [228, 60, 94], [0, 158, 115], [204, 121, 167], [230, 159, 0], [0, 114, 178]];
const colour = (number) => PALETTE[number % PALETTE.length];
const $ = (id) => document.getElementById(id);

export class Picture {
  constructor() {
    this.key = ""; this.camera = ""; this.stop = null; this.number = 0; this.drawn = 0;
  }

  show(key, cameras) {
    const same = key === this.key && cameras.join() === this.cameras;
    if (same) return;
    const camera = cameras.includes(this.camera) ? this.camera : cameras[0] || "";
    this.cameras = cameras.join();
    this.begin(key, camera, cameras);
  }

  begin(key, camera, cameras) {
    this.stop?.abort();
    Object.assign(this, { key, camera, number: 0, stop: new AbortController() });
    const place = $("cameras");
    place.className = "cameras";
    place.replaceChildren(...(cameras.length > 1 ? cameras : []).map((name) => {
      const button = Object.assign(document.createElement("button"), { textContent: name });
      button.setAttribute("aria-pressed", String(name === camera));
      button.onclick = () => this.begin(key, name, cameras);
      return button;
    }));
    this.follow(this.stop.signal);
  }

  async follow(signal) {
    while (!signal.aborted) {
      if (document.hidden) { await new Promise((next) => setTimeout(next, 500)); continue; }
      try {
        const about = await view(this.key, this.camera, this.number, signal);
        const fresh = about.number !== this.number;
        this.number = about.number;
        if (fresh || about.lost) await this.draw(about);
        if (!about.number) await new Promise((next) => setTimeout(next, 1000));
      } catch (error) {
        if (signal.aborted) return;
        $("caption").textContent = `no picture: ${error.message}`;
        await new Promise((next) => setTimeout(next, 1500));
      }
    }
  }

  async draw(about) {
    const canvas = $("canvas"), verdict = about.verdict || {};
    let image = null;
    if (about.part.jpeg?.length) image = await createImageBitmap(new Blob([about.part.jpeg], { type: "image/jpeg" }));
    const size = about.frame?.size || verdict.size || (verdict.shape && [verdict.shape[1], verdict.shape[0]]) || [640, 360];
    const factor = Math.max(1, Math.ceil(640 / size[0])), [width, height] = [size[0] * factor, size[1] * factor];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const pen = canvas.getContext("2d");
    pen.setTransform(factor, 0, 0, factor, 0, 0); // pixels of the camera
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, ...size);
    if (image) pen.drawImage(image, 0, 0, ...size);
    const ours = !verdict.camera || !about.frame || verdict.camera === about.frame.camera;
    if (ours && about.part.labels) await this.labels(pen, verdict, await inflate(about.part.labels), size);
    if (ours && verdict.xyxy) await this.objects(pen, verdict, about.part.bits, factor);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (!image && !about.part.labels && !verdict.xyxy) this.say(pen, [width, height], "no pictures are published", 'set [bus] publish = ["frames"]');
    if (verdict.kind === "HOLD") this.say(pen, [width, height], `HOLD ${verdict.reason || ""}`, verdict.detail || "");
    if (about.lost) this.say(pen, [width, height], "SILENT", about.lost);
    this.axes(verdict);
    this.caption(about, verdict);
    this.drawn += 1;
    canvas.dataset.drawn = this.drawn;
  }

  async labels(pen, verdict, labels, size) {
    const [height, width] = verdict.shape;
    const tint = new ImageData(width, height);
    for (let i = 0; i < labels.length; i += 1) {
      const number = labels[i];
      if (!number) continue;
      const edge = labels[i - 1] !== number || labels[i + 1] !== number || labels[i - width] !== number || labels[i + width] !== number;
      tint.data.set([...colour(number), edge ? 255 : 110], 4 * i);
    }
    pen.drawImage(await createImageBitmap(tint), 0, 0, ...size);
  }

  async objects(pen, verdict, packed, factor) {
    const shapes = verdict.mask_shape || [];
    const bits = packed ? await inflate(packed) : new Uint8Array();
    let at = 0;
    for (const [index, box] of verdict.xyxy.entries()) {
      const ink = colour(verdict.class_id?.[index] || 0);
      const [height, width] = shapes[index] || [0, 0];
      if (height * width) {
        const tint = new ImageData(width, height);
        for (let i = 0; i < height * width; i += 1) {
          if (bits[at + (i >> 3)] & (128 >> (i & 7))) tint.data.set([...ink, 120], 4 * i);
        }
        at += (height * width + 7) >> 3;
        pen.drawImage(await createImageBitmap(tint), Math.max(0, Math.floor(box[0])), Math.max(0, Math.floor(box[1])));
      }
      pen.strokeStyle = pen.fillStyle = `rgb(${ink})`;
      pen.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
      const name = verdict.classes?.[verdict.class_id?.[index]] ?? "";
      pen.font = `${12 / factor}px sans-serif`;
      pen.lineWidth = 1.5 / factor;
      pen.fillText(`${index} ${name} ${(verdict.score?.[index] ?? 0).toFixed(2)}`, box[0], Math.max(12, box[1] - 3));
    }
  }

  say(pen, [width, height], word, detail) {
    const size = Math.max(9, Math.min(width / 16, 34));
    pen.fillStyle = "rgba(0, 0, 0, .72)";
    pen.fillRect(0, height - 2.9 * size, width, 2.9 * size);
    pen.fillStyle = "#ff8a75";
    pen.font = `bold ${size}px sans-serif`;
    pen.fillText(word, size * .4, height - 1.6 * size, width - size);
    pen.fillStyle = "#fff";
    pen.font = `${size * .6}px sans-serif`;
    const fits = Math.floor(detail.length * Math.min(1, (width - size) / pen.measureText(detail).width));
    pen.fillText(fits < detail.length ? `${detail.slice(0, fits - 1)}…` : detail, size * .4, height - .6 * size);
  }

  axes(verdict) {
    const names = verdict.names || [], values = verdict.action || [];
    if (verdict.kind !== "ACTION") { if (verdict.kind) $("axes").replaceChildren(); return; }
    $("axes").replaceChildren(...names.map((name, index) => {
      const limit = this.limits?.[name] || {}, row = document.createElement("div"), meter = document.createElement("meter");
      row.className = "axis";
      const low = limit.min ?? -Math.PI, high = limit.max ?? Math.PI;
      Object.assign(meter, { min: low, max: high, value: values[index] });
      const label = Object.assign(document.createElement("span"), { textContent: name });
      const text = Object.assign(document.createElement("span"), { textContent: `${values[index]?.toFixed(3)} ${verdict.units?.[index] || ""}` });
      row.append(label, meter, text);
      return row;
    }));
  }

  caption(about, verdict) {
    const parts = [];
    if (about.frame) parts.push(`${about.frame.camera} ${about.frame.size.join("x")}, ${about.frame.age_ms.toFixed(0)} ms old`);
    if (about.frame && !about.frame.exact && (about.part.labels || verdict.xyxy)) parts.push("masks of another moment");
    if (verdict.result) parts.push(`${verdict.result}${verdict.why ? `: ${verdict.why}` : ""}`);
    if (verdict.xyxy) parts.push(`${verdict.count} objects${verdict.truncated ? `, at least ${verdict.truncated} more` : ""}`);
    if (verdict.kind === "LABELS") parts.push((verdict.classes || []).slice(1).map((name) => name).join(", "));
    if (verdict.kind) parts.push(`${verdict.kind.toLowerCase()} ${verdict.seq}, input ${verdict.age_ms.toFixed(0)} ms old`);
    if (verdict.alarms?.length) parts.push(`ALARM ${verdict.alarms.join(", ")}`);
    $("caption").textContent = parts.join(" · ");
  }
}
