// The page: tiles of all daemons, and everything about the one that is chosen.
import { login, showActs, showWho } from "./acts.js";
import { draw, lasting, strip } from "./charts.js";
import { get, me } from "./net.js";
import { Picture } from "./picture.js";

const $ = (id) => document.getElementById(id);
const make = (tag, text, more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });
const STEPS = ["queued", "staged", "verified", "built", "loaded", "warmed", "golden", "shadow", "swapped", "probation", "committed"];
const SPAN = 600;
const picture = new Picture();
let chosen = decodeURIComponent(location.hash.slice(1)), daemons = [], points = {}, entries = [], entry = null, hit = () => null, recorded = { of: 0, found: [], asked: 0 };

function duration(seconds) {
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// Word, cause, and how grave: what a person has to see first.
function judged(one) {
  const health = one.health;
  if (!one.alive) return ["SILENT", `nothing heard for ${duration(one.silent_s)}: it ended, or stands still`, "bad"];
  if (health.state === "none") return ["STARTING", health.detail || "", "warn"];
  if (health.state !== "ok") return [`HOLD ${health.state}`, health.detail || "", ["STARTING", "DISARMED"].includes(health.state) ? "warn" : "bad"];
  if (health.waiting) return ["RUNNING", `waits: ${health.waiting}`, "warn"];
  return ["RUNNING", "", "good"];
}

function tiles() {
  const place = $("tiles");
  if (!daemons.length) { place.replaceChildren(make("p", "No daemon was heard yet. Start one: edged run FILE", { className: "note" })); return; }
  const rows = daemons.map((one) => {
    const [word, cause, grave] = judged(one), engine = one.health.engine || {};
    const tile = place.querySelector(`[data-key="${one.key}"]`) || make("button", "", { className: "tile" });
    tile.dataset.key = one.key;
    tile.className = `tile ${grave}`;
    tile.setAttribute("aria-current", String(one.key === chosen));
    tile.onclick = () => choose(one.key);
    const since = one.alive ? ` for ${duration(one.health.state_s || 0)}` : "", warnings = one.health.warnings?.length || 0;
    const more = cause || `${engine.name} ${engine.version}${warnings ? `, ${warnings} warning${warnings > 1 ? "s" : ""}` : ""}`;
    tile.replaceChildren(make("b", one.name), make("small", since), make("span", word, { className: "word" }), make("small", more));
    return tile;
  });
  if (rows.some((tile) => tile.parentNode !== place) || place.children.length !== rows.length) place.replaceChildren(...rows);
}

function choose(key) {
  chosen = key;
  history.replaceState(null, "", `#${encodeURIComponent(key)}`);
  [points, entries, entry] = [{}, [], null];
  delete $("acts").dataset.for;
  episodes();
  engines([]);
  show();
  slow();
}

function show() {
  tiles();
  const one = daemons.find((each) => each.key === chosen) || daemons[0];
  $("one").hidden = !one;
  if (!one) return;
  chosen = one.key;
  const [word, cause, grave] = judged(one), health = one.health, engine = health.engine || {};
  const facts = [];
  if (engine.loaded) facts.push(`${engine.name} ${engine.version}, ${engine.precision} on ${engine.backend}, ${engine.identity}`);
  else facts.push(`no engine: ${engine.detail || ""}`);
  facts.push(`${health.daemon?.rate_hz} Hz, ${health.ticks} ticks, ${health.skipped} skipped, up ${duration(health.uptime_s || 0)}, ${health.rss_mb} MB`);
  if (health.guard) facts.push(`arming: ${health.guard.arming}${health.guard.holder ? ` by ${health.guard.holder}${health.guard.locked ? " (locked)" : ""}` : ""}`);
  $("state").className = grave;
  $("state").replaceChildren(make("span", `${one.name}: ${word}`, { className: "word" }), make("p", cause),
    ...facts.map((text) => make("p", text, { className: "dim" })), ...(health.warnings || []).map((text) => make("p", `warning: ${text}`)));
  showActs(one);
  picture.limits = health.guard?.limits;
  picture.show(one.key, one.frames);
  inputs(health);
  swap(health.swap);
}

function inputs(health) {
  const rows = [["input", "state", "age", "counts"]];
  for (const kind of ["cameras", "sensors"]) {
    for (const [name, stats] of Object.entries(health[kind] || {})) {
      const counts = Object.entries(stats).filter(([key, value]) => Number.isInteger(value) && value && !["captured_ns"].includes(key));
      rows.push([name, stats.state || stats.trouble || "", stats.age_ms === null ? "nothing yet" : `${stats.age_ms} ms`, counts.map(([key, value]) => `${key} ${value}`).join(", ")]);
    }
  }
  $("inputs").replaceChildren(...rows.map((row, index) => {
    const line = make("tr", "");
    line.append(...row.map((text) => make(index ? "td" : "th", text)));
    return line;
  }));
}

function swap(state) {
  const place = $("swap"), job = state?.active || null, past = state?.past?.at(-1);
  place.hidden = !job && !past;
  if (place.hidden) return;
  const told = job || past, at = STEPS.indexOf(told.state);
  const steps = make("div", "", { className: "steps" });
  steps.append(...STEPS.map((name, index) => make("span", name, { className: index < at || told.state === "committed" ? "done" : index === at ? "now" : "" })));
  const words = [`${told.version}: ${told.state.replace("_", " ")}`, told.who && `asked by ${told.who}`, told.reason,
    told.gap_ms !== undefined && told.gap_ms !== null && `gap ${told.gap_ms} ms`, job && `${Math.round(100 * (job.progress || 0))} %`];
  place.replaceChildren(make("h2", job ? "Swap under way" : "Last swap"), make("p", words.filter(Boolean).join(", ")), ...(at >= 0 ? [steps] : []),
    ...(told.notes || []).map((note) => make("p", note, { className: "dim" })));
}

function charts() {
  const own = points[chosen] || [], span = Math.min(SPAN, Math.max(60, Date.now() / 1000 - (own[0]?.[0] ?? 0)));
  draw($("latency"), { "p50": own.map((p) => [p[0], p[1]]), p99: own.map((p) => [p[0], p[2]]), "late p99": own.map((p) => [p[0], p[3] === null ? null : p[3] / 1000]) }, span, "ms");
  const names = [...new Set(own.flatMap((point) => Object.keys(point[4])))];
  draw($("ages"), Object.fromEntries(names.map((name) => [name, own.map((p) => [p[0], p[4][name] ?? null])])), span, "ms");
  hit = strip($("strip"), entries, Number($("span").value), entry);
}

function episodes() {
  $("episodes").replaceChildren(...entries.slice(-200).reverse().map((each) => {
    const row = make("li", ""), when = new Date(each.begin * 1000);
    const day = when.toDateString() === new Date().toDateString() ? "" : `${when.toLocaleDateString("sv")} `;
    row.append(make("time", `${day}${when.toTimeString().slice(0, 8)}`),
      make("span", lasting(each) ? `${each.line} (${each.open ? "lasts" : duration(each.end - each.begin)})` : each.line));
    row.onclick = () => pick(each === entry ? null : each);
    if (each === entry) {
      row.className = "chosen";
      row.append(recordings(each), make("pre", JSON.stringify(each.facts, null, 1)));
    }
    return row;
  }));
}

// What was recorded of the moment, to be kept and replayed.
function recordings(each) {
  const place = make("div", ""), key = chosen;
  place.onclick = (event) => event.stopPropagation();
  const again = !recorded.found.length && Date.now() - recorded.asked > 4000; // a recording ends seconds after its cause
  if (recorded.of !== each.begin || again) {
    recorded = { of: each.begin, found: [], asked: Date.now() };
    get(`daemons/${key}/recordings?at=${each.begin}`).then((found) => {
      if (!found.length || key !== chosen || recorded.of !== each.begin) return;
      recorded.found = found;
      episodes();
    }, () => {});
  }
  for (const one of recorded.found) {
    const link = make("a", one.name, { href: `api/daemons/${key}/recordings/${encodeURIComponent(one.name)}`, download: one.name, className: "recording" });
    place.append(link, make("span", ` ${one.mb} MB `, { className: "dim" }), make("code", `edged replay ${one.path}`));
  }
  return place;
}

function pick(each) {
  entry = each;
  recorded = { of: 0, found: [], asked: 0 };
  episodes();
  charts();
  document.querySelector("#episodes .chosen")?.scrollIntoView({ block: "nearest" });
}

function engines(listed) {
  $("engines").replaceChildren(...listed.map((one) => {
    const row = make("div", "", { className: "engine" });
    const made = Object.entries(one.provenance || {}).map(([key, value]) => `${key} ${value}`).join(", ");
    const marks = [one.running && "runs", one.current && "after a restart", one.signed ? "signed" : "not signed", one.state.replace("_", " ")];
    row.append(make("b", `${one.name} ${one.version}`), make("span", marks.filter(Boolean).join(", ")),
      make("div", [one.identity, one.task, one.precision, one.who && `asked by ${one.who}`, one.time].filter(Boolean).join(" · "), { className: "dim" }),
      make("div", one.problem || one.reason || one.below || "", { className: "error" }), make("div", made, { className: "dim" }));
    return row;
  }));
}

function linked(good, text = "") {
  $("link").className = good ? "" : "bad";
  $("link").textContent = good ? `${daemons.length} daemon${daemons.length === 1 ? "" : "s"}, ${new Date().toTimeString().slice(0, 8)}` : text;
}

async function quick() {
  try {
    daemons = await get("daemons");
    linked(true);
    show();
    if (chosen) {
      const key = chosen, own = points[key] || [], fresh = await get(`daemons/${key}/points?since=${own.at(-1)?.[0] || 0}`);
      points[key] = [...own, ...fresh].slice(-1200);
      if (!document.hidden) charts();
    }
  } catch (error) {
    if (error.status === 401 && !$("dialog").open) login();
    linked(false, error.status ? error.message : "the page's server does not answer: what is shown is old");
  }
  setTimeout(quick, document.hidden ? 5000 : 1000);
}

async function slow() {
  if (!chosen) return;
  const key = chosen;
  try {
    const since = Date.now() / 1000 - Number($("span").value);
    const [found, listed] = await Promise.allSettled([get(`daemons/${key}/history?since=${since}`), get(`daemons/${key}/engines`)]);
    if (key !== chosen) return;
    if (found.status === "fulfilled") {
      const again = entry && found.value.find((each) => each.begin === entry.begin && each.line === entry.line);
      [entries, entry] = [found.value, again || null];
      episodes();
    }
    if (listed.status === "fulfilled") engines(listed.value);
  } catch (error) {
    linked(false, error.message);
  }
}

function lighten(on) {
  document.documentElement.className = on ? "light" : "";
  $("light").textContent = on ? "Dark" : "Light";
  localStorage.setItem("light", on ? "1" : "");
}

$("light").onclick = () => lighten(!document.documentElement.className);
lighten(localStorage.getItem("light") === "1");
$("strip").onclick = (event) => pick(hit(event.offsetX, event.offsetY));
$("span").onchange = slow;
window.addEventListener("resize", charts);
await showWho();
if (!me.open && !me.name) login();
await quick();
await slow();
setInterval(slow, 5000);
