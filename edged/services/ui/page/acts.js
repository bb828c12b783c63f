// Who is logged in, and what they may ask of a daemon. Whatever the buttons show, the server decides.
import { me, post, whoAmI } from "./net.js";

const $ = (id) => document.getElementById(id);
const make = (tag, text, more = {}) => Object.assign(document.createElement(tag), { textContent: text, ...more });
let daemon = null;

function ask(title, fields, word, act) {
  const form = $("form"), dialog = $("dialog"), error = make("p", "", { className: "error" });
  error.setAttribute("role", "alert");
  const inputs = fields.map(([name, label, type, value]) => {
    const input = make("input", "", { type, name, value: value || "", autocomplete: type === "password" ? "current-password" : "off" });
    if (type === "checkbox") input.checked = Boolean(value);
    const row = make("label", label);
    row.append(input);
    return [row, input];
  });
  const row = make("div", "", { className: "row" });
  row.append(make("button", word, { value: "do", id: "do" }), make("button", "Cancel", { type: "button", onclick: () => dialog.close() }));
  form.replaceChildren(make("h2", title), ...inputs.map(([label]) => label), error, row);
  form.onsubmit = async (event) => {
    event.preventDefault();
    error.textContent = "";
    try {
      await act(Object.fromEntries(inputs.map(([, input]) => [input.name, input.type === "checkbox" ? input.checked : input.value])));
      dialog.close();
    } catch (wrong) {
      error.textContent = wrong.message;
    }
  };
  dialog.showModal();
}

export async function showWho() {
  await whoAmI();
  const place = $("who");
  if (me.name) {
    place.replaceChildren(make("span", `${me.name}: ${me.rights.join(", ") || "may look"} `, { className: "dim" }),
      make("button", "Log out", { onclick: async () => { await post("logout", {}); location.reload(); } }));
  } else if (me.operate || !me.open) {
    place.replaceChildren(make("button", "Log in", { id: "login", onclick: login }));
  }
  return me;
}

export function login() {
  ask("Log in", [["name", "Name", "text"], ["password", "Password", "password"]], "Log in", async (given) => {
    await post("login", given);
    location.reload();
  });
}

async function act(op, args = {}) {
  return post(`daemons/${daemon.key}/act`, { op, args });
}

// A hold is one click: no question before it, whatever else one may not.
async function holdNow(button) {
  button.disabled = true;
  try {
    await act("hold", { reason: "from the page" });
    $("acted").textContent = "held";
  } catch (error) {
    $("acted").textContent = error.message;
  } finally {
    button.disabled = false;
  }
}

export function showActs(one) {
  daemon = one;
  const place = $("acts"), may = (right) => me.rights.includes(right), moves = Boolean(one.health.guard);
  place.hidden = !(me.operate && me.name && me.rights.length);
  const wanted = `${one.key} ${me.rights} ${moves} ${one.alive} ${Boolean(one.health.guard?.enable)}`;
  if (place.hidden || place.dataset.for === wanted) return;
  place.dataset.for = wanted;
  const buttons = [];
  if (moves) {
    buttons.push(make("button", "HOLD", { className: "stop", id: "hold", onclick: (event) => holdNow(event.target) }));
    buttons.push(make("button", "Hold and lock…", { onclick: () => ask("Hold and lock: only you, or the machine's console, end it",
      [["reason", "Why", "text"]], "Hold", (given) => act("hold", { ...given, lock: true })) }));
  }
  if (may("operate")) {
    buttons.push(make("button", "Swap…", { id: "swap-to", onclick: () => ask(`Swap ${one.health.engine?.name || ""}`,
      [["version", "To version", "text"]], "Swap", (given) => act("swap", given)) }));
    buttons.push(make("button", "Roll back…", { onclick: () => ask("Go back to the version before", [], "Roll back", () => act("rollback")) }));
    buttons.push(make("button", "Reset…", { onclick: () => ask("Forget recurrent state and running command", [], "Reset", () => act("reset")) }));
  }
  if (moves && may("arm") && me.arm && one.health.guard?.enable) {
    buttons.push(make("button", "Resume…", { onclick: () => ask("Resume: the robot may move", [], "Resume", () => act("resume")) }));
  }
  place.replaceChildren(...buttons, make("span", "", { id: "acted", role: "status" }));
}
