// Before the first paint: the reader's own choice of light or dark, where there is one.
const kept = localStorage.getItem("theme");
if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
document.documentElement.classList.add("scripted");
