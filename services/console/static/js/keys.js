// The keyboard comes first. Every key does what a visible control does; nothing here is the only way to an act.
const one = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const typing = (target) => target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
let leader = "";

// Rows
const rows = () => all("[data-rows] > tbody[data-row]");
const here = () => one("tbody.here");
function go(row, { scroll = true } = {}) {
  if (!row) return;
  here()?.classList.remove("here");
  row.classList.add("here");
  one(".what a", row)?.focus({ preventScroll: true });
  if (scroll) row.scrollIntoView({ block: "nearest" });
  sessionStorage.setItem("row", row.dataset.row);
}
function move(step) {
  const list = rows();
  const at = list.indexOf(here());
  go(list[Math.min(Math.max(at < 0 ? 0 : at + step, 0), list.length - 1)]);
}
function count() {
  const picked = all('input[name="alert"]:checked').length;
  const bar = one("[data-bulk]");
  if (!bar) return;
  bar.classList.toggle("shown", picked > 0);
  one("[data-picked]").textContent = picked ? `(${picked})` : "";
}
function expand(button) {
  const open = button.getAttribute("aria-expanded") !== "true";
  button.setAttribute("aria-expanded", String(open));
  document.getElementById(button.getAttribute("aria-controls")).parentElement.hidden = !open;
}

// Acts
const openPart = (name) => {
  const part = one(`[data-act="${name}"]`);
  if (!part) return false;
  part.open = true;
  one("input:not([type=hidden]), textarea, select", part)?.focus();
  part.scrollIntoView({ block: "nearest" });
  return true;
};
function verdict(key) {
  const choice = one(`[data-verdict-key="${key}"]`);
  if (choice) {
    choice.checked = true;
    choice.dispatchEvent(new Event("change", { bubbles: true }));
    choice.closest("form").querySelector("[name=reason]").focus();
    return true;
  }
  const reason = one(`[data-reason-key="${key}"]`);
  if (reason) { reason.click(); return true; }
  return false;
}
const press = (selector) => { const found = one(selector); if (found) found.click(); return Boolean(found); };
function dialog(name) {
  const sheet = one(`[data-dialog="${name}"]`);
  if (sheet.open) sheet.close(); else sheet.showModal();
}

// A verdict from the list opens the alert with that verdict chosen: the reason is asked for where the evidence stands.
function judgeFromList(key) {
  const row = here();
  if (!row || !"1234".includes(key)) return false;
  location.href = `${row.dataset.href}?key=${key}`;
  return true;
}

const KEYS = {
  j: () => move(1), k: () => move(-1),
  o: () => { const row = here(); if (row) location.href = row.dataset.href; return Boolean(row); },
  x: () => { const box = here() && one('input[name="alert"]', here()); if (box) { box.checked = !box.checked; count(); } return Boolean(box); },
  e: () => press("tbody.here [data-expand]"),
  n: () => press('[data-key="n"]'),
  z: () => press("form[data-undo] button"),
  a: () => openPart("assign"), c: () => openPart("comment"), s: () => openPart("snooze"), t: () => openPart("tags"),
  f: () => { const first = one("#facets a"); first?.focus(); return Boolean(first); },
  J: () => press("[data-next-page]"),
  u: () => press("[data-back]"),
  "/": () => { location.href = "/search"; return true; },
  "?": () => { dialog("help"); return true; },
};
const PLACES = { o: "/", q: "/queue", e: "/entitlements", u: "/audit", s: "/search", y: "/quality", h: "/shadow" };

addEventListener("keydown", (event) => {
  if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && event.target.form) { event.target.form.requestSubmit(); return; }
  if (event.key === "Enter" && !event.shiftKey && event.target.matches("textarea[data-submits]")) { event.preventDefault(); event.target.form.requestSubmit(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if (one("dialog[open]") && event.key !== "?") return;
  if (leader === "g") { leader = ""; if (PLACES[event.key]) { event.preventDefault(); location.href = PLACES[event.key]; } return; }
  if (event.key === "g") { leader = "g"; setTimeout(() => { leader = ""; }, 1200); return; }
  const act = KEYS[event.key];
  if (act) { if (act() !== false) event.preventDefault(); return; }
  if (/^[1-9]$/.test(event.key) && (verdict(event.key) || judgeFromList(event.key))) event.preventDefault();
});

addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) dialog(opener.dataset.open);
  const arrow = event.target.closest("[data-expand]");
  if (arrow) expand(arrow);
  if (event.target.closest("[data-theme-toggle]")) {
    const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
      (document.documentElement.dataset.theme === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", document.documentElement.dataset.theme);
    dispatchEvent(new Event("themechange"));
  }
  const reason = event.target.closest("[data-reason]");
  if (reason) {
    const field = one("[name=reason]", reason.closest("form"));
    field.value = reason.dataset.reason;
    field.focus();
  }
  const keep = event.target.closest("[data-save-view]");
  if (keep) {
    const name = prompt("A name for this view");
    if (name) { const views = saved(); views[name] = location.search; localStorage.setItem("views", JSON.stringify(views)); showSaved(); }
  }
});
addEventListener("change", (event) => {
  if (event.target.matches("[data-pick-all]")) for (const box of all('input[name="alert"]')) box.checked = event.target.checked;
  count();
});
addEventListener("htmx:afterSettle", () => { start(); });

// Views that this reader keeps, in this browser.
function saved() { try { return JSON.parse(localStorage.getItem("views") ?? "{}"); } catch { return {}; } }
function showSaved() {
  const place = one("[data-saved-views]");
  if (!place) return;
  place.replaceChildren(...Object.entries(saved()).map(([name, search]) => {
    const link = document.createElement("a");
    link.href = `/queue${search}`;
    link.textContent = name;
    if (search === location.search) link.setAttribute("aria-current", "page");
    return link;
  }));
}

function start() {
  for (const button of all("[data-theme-toggle], [data-open], [data-save-view]")) button.hidden = false;
  showSaved();
  count();
  const last = sessionStorage.getItem("row");
  const row = last && rows().find((each) => each.dataset.row === last);
  if (!here() && rows().length) go(row ?? rows()[0], { scroll: Boolean(row) });
  const key = new URLSearchParams(location.search).get("key");
  if (key && one("[data-verdict-key]")) verdict(key);
}
start();
