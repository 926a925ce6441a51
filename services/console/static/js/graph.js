// The relation graph. Its library comes only when the graph comes into view.
const own = document.querySelector("script[data-echarts]");
const place = document.querySelector("[data-graph]");
function tone(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}
const KINDS = { alert: "--critical", pool: "--actual", account: "--strength", organisation: "--medium", other: "--high" };
let chart = null;

function library() {
  return new Promise((done, fail) => {
    if (globalThis.echarts) { done(); return; }
    const script = document.createElement("script");
    script.src = own.dataset.echarts;
    script.addEventListener("load", done);
    script.addEventListener("error", fail);
    document.head.append(script);
  });
}
async function draw() {
  const [answer] = await Promise.all([fetch(place.dataset.graph), library()]);
  if (!answer.ok) throw new Error(String(answer.status));
  const { nodes, links } = await answer.json();
  if (chart) chart.dispose(); else place.replaceChildren();
  chart = globalThis.echarts.init(place, null, { renderer: "canvas" });
  const ink = tone("--ink");
  chart.setOption({
    animation: false,
    series: [{
      type: "graph", layout: "force", roam: "move", draggable: true,
      force: { repulsion: 90, edgeLength: [24, 90], gravity: 0.12, friction: 0.2 },
      data: nodes.map((node) => ({ ...node, symbolSize: node.size, itemStyle: { color: tone(KINDS[node.kind]) },
        symbol: node.kind === "account" ? "circle" : node.kind === "pool" ? "diamond" : "roundRect" })),
      links: links.map((link) => ({ ...link, lineStyle: { width: 0.5 + 2 * link.strength, opacity: 0.35, color: ink } })),
      emphasis: { focus: "adjacency", label: { show: true, formatter: "{b}", color: ink, backgroundColor: tone("--card"), padding: [3, 6], borderRadius: 4 } },
    }],
  });
  chart.on("click", (event) => { if (event.data.href) location.href = event.data.href; });
}
function failed() {
  const told = document.createElement("p");
  told.className = "quiet pad";
  told.textContent = "The graph could not be fetched. The accounts stand above, the alerts that share them beside it.";
  place.replaceChildren(told);
}
if (place) {
  const watch = new IntersectionObserver((seen) => {
    if (!seen.some((each) => each.isIntersecting)) return;
    watch.disconnect();
    draw().catch(failed);
  }, { rootMargin: "200px" });
  watch.observe(place);
  addEventListener("themechange", () => { if (chart) draw().catch(failed); });
  addEventListener("resize", () => chart?.resize());
}
