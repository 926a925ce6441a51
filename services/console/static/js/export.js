// Downloads with progress: the same links as without a script, read as a stream so that rows can be counted.
const place = document.querySelector("[data-export]");
const bar = place.querySelector("progress");
const told = place.querySelector("[data-progress]");
const format = new Intl.NumberFormat("en");
place.addEventListener("click", async (event) => {
  const link = event.target.closest("a[download]");
  if (!link) return;
  event.preventDefault();
  bar.hidden = false;
  try {
    const answer = await fetch(link.href);
    if (!answer.ok) throw new Error(String(answer.status));
    const total = Number(answer.headers.get("X-Total-Rows")) || 1;
    const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition"))?.[1] ?? "alerts";
    const parts = [];
    let rows = 0;
    const reader = answer.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      for (const byte of value) if (byte === 10) rows += 1;
      bar.value = Math.min(rows / total, 1);
      told.textContent = `${format.format(Math.min(rows, total))} of ${format.format(total)}`;
    }
    const address = URL.createObjectURL(new Blob(parts));
    const save = document.createElement("a");
    save.href = address;
    save.download = name;
    save.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
    bar.value = 1;
    told.textContent = `${format.format(total)} saved`;
  } catch (error) {
    told.textContent = `The download stopped (${error.message}). Try again.`;
  }
});
