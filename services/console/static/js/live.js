// Live figures. Rows never move under a reader's eyes: a pill says how many are new, and a click fetches them.
const live = (name) => document.querySelectorAll(`[data-live="${name}"]`);
const format = new Intl.NumberFormat("en");

function show(beat) {
  for (const name of ["open", "critical"]) {
    for (const place of live(name)) {
      place.textContent = format.format(beat[name]);
      place.hidden = beat[name] === 0 && place.classList.contains("count");
    }
  }
  for (const place of live("health")) place.hidden = beat.healthy;
  const queue = document.getElementById("queue");
  const pill = queue && queue.querySelector("[data-new]");
  if (!pill) return;
  const fresh = beat.raised - Number(queue.dataset.raised);
  pill.hidden = fresh <= 0;
  pill.textContent = `${format.format(Math.max(fresh, 0))} new`;
}

const source = new EventSource("/console/events");
source.addEventListener("beat", (event) => show(JSON.parse(event.data)));
addEventListener("pagehide", () => source.close());

// A part that could not be fetched says so, and nothing of the page is lost.
function say(text) {
  const toast = document.querySelector("[data-toast]");
  toast.textContent = text;
  toast.classList.add("shown");
  setTimeout(() => toast.classList.remove("shown"), 4000);
}
addEventListener("htmx:responseError", (event) => say(`The server answered ${event.detail.xhr.status}. Try again.`));
addEventListener("htmx:sendError", () => say("The server does not answer. Try again."));
