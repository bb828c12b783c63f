// Talking to the page's own server, and nobody else.
export const me = { operate: false, arm: false, open: true, name: "", rights: [], csrf: "" };

async function answer(response) {
  const value = await response.json().catch(() => ({ fact: `the page answered ${response.status}`, remedy: "" }));
  if (response.ok) return value;
  const error = new Error(value.remedy ? `${value.fact}; ${value.remedy}` : value.fact);
  error.status = response.status;
  throw error;
}

export async function get(path) {
  return answer(await fetch(`api/${path}`, { credentials: "same-origin" }));
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-CSRF": me.csrf };
  return answer(await fetch(`api/${path}`, { method: "POST", credentials: "same-origin", headers, body: JSON.stringify(body) }));
}

export async function whoAmI() {
  Object.assign(me, { name: "", rights: [], csrf: "" }, await get("me"));
  return me;
}

// `u32 length | JSON | parts`: the JSON with `part`, each by its name.
export async function view(key, camera, after, signal) {
  const query = new URLSearchParams({ camera, after });
  const response = await fetch(`api/daemons/${key}/view?${query}`, { credentials: "same-origin", signal });
  if (!response.ok) return answer(response);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const about = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  let at = 4 + length;
  about.part = {};
  for (const [name, size] of about.parts) {
    about.part[name] = bytes.subarray(at, at + size);
    at += size;
  }
  return about;
}

export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
