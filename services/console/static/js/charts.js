// The overview's series, over the pictures that the server drew: values under the pointer, light and dark.
// A light-dark() value is resolved only where it is used.
function colour(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
const charts = [];

function axes() {
  const stroke = colour("--quiet");
  const grid = { stroke: colour("--line"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const hours = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const values = (_, moments) => moments.map((moment) => hours.format(moment * 1000));
  return [{ stroke, grid: { show: false }, ticks: { show: false }, font, size: 24, space: 70, values }, { stroke, grid, ticks: { show: false }, font, size: 40 }];
}
function draw(place, data, series, extra = {}) {
  place.replaceChildren();
  const size = { width: place.clientWidth, height: 150 };
  const chart = new uPlot({ ...size, series: [{}, ...series], axes: axes(), legend: { show: false }, padding: [8, 16, 0, 0],
    cursor: { points: { size: 6 } }, ...extra }, data, place);
  charts.push([chart, place]);
}
function stacked(columns) {
  const [moments, ...rest] = columns;
  const order = [...rest].reverse();
  const sums = moments.map(() => 0);
  const tops = order.map((column) => column.map((value, at) => (sums[at] += value)));
  return [moments, ...tops.reverse()];
}
async function load() {
  const answer = await fetch("/console/series");
  if (!answer.ok) return;
  const series = await answer.json();
  charts.splice(0).forEach(([chart]) => chart.destroy());
  const alerts = document.querySelector('[data-chart="alerts"]');
  if (alerts && series.alerts.slice(1).some((column) => column.some(Boolean))) {
    const bars = uPlot.paths.bars({ size: [0.85, 40] });
    const names = ["critical", "high", "medium", "low"];
    draw(alerts, stacked(series.alerts), names.map((name) => ({ label: name, fill: colour(`--${name}`), width: 0, paths: bars, points: { show: false } })),
      { scales: { y: { range: (_, low, high) => [0, Math.max(high, 4) * 1.05] } } });
  }
  const traffic = document.querySelector('[data-chart="traffic"]');
  if (traffic && series.traffic[0].length > 1) {
    draw(traffic, series.traffic, [{ label: "requests/s", stroke: colour("--strength"), width: 1.5, points: { show: false } }],
      { scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } } });
  }
}
addEventListener("resize", () => { for (const [chart, place] of charts) chart.setSize({ width: place.clientWidth, height: 150 }); });
addEventListener("themechange", load);
load();
setInterval(() => { if (!document.hidden) load(); }, 15000);
