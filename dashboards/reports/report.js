// Draws the figures, in the colours that the reader prefers; on paper in the light ones.
(() => {
  "use strict";
  const dark = window.matchMedia("screen and (prefers-color-scheme: dark)");
  const nodes = Array.from(document.querySelectorAll(".plot"));

  const texts = new Map();

  // What all figures share, by theme.
  let templates = null;

  async function unpack(place) {
    const packed = Uint8Array.from(atob(document.getElementById(place).textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  // Anew each time: plotly writes into what it is given.
  function figureOf(node, night) {
    const one = JSON.parse(texts.get(node));
    for (const [path, value] of night ? one.dark : []) {
      const last = path.pop();
      const place = path.reduce((inside, key) => inside[key], one.figure);
      if (value === undefined) delete place[last];
      else place[last] = value;
    }
    one.figure.layout.template ??= JSON.parse(templates)[night ? "dark" : "light"];
    return one;
  }

  // A width is given for paper; on the screen a figure is as wide as its place.
  function draw(node, night, width) {
    const one = figureOf(node, night);
    const layout = { ...one.figure.layout, height: Number(node.dataset.height) };
    // A legend above the panels needs more lines where the page is narrow.
    if (layout.legend && layout.legend.yref === "container") {
      const room = width || node.clientWidth;
      const least = 34 + 19 * (room < 480 ? 4 : room < 760 ? 2 : 1);
      layout.margin = { ...layout.margin, t: Math.max(layout.margin?.t || 0, least) };
    }
    if (width) Object.assign(layout, { width, autosize: false });
    const config = { ...one.config, responsive: !width };
    config.toImageButtonOptions = { ...config.toImageButtonOptions, filename: node.dataset.figure };
    return Plotly.newPlot(node, one.figure.data, layout, config);
  }

  let printing = false;

  async function drawAll() {
    document.documentElement.removeAttribute("data-drawn");
    templates ??= await unpack("templates");
    for (const node of nodes) {
      if (!texts.has(node)) texts.set(node, await unpack(node.dataset.figure));
      // Paper is no screen: the question about dark changes its answer while a page is printed.
      if (printing) return;
      await draw(node, dark.matches);
      // Between two figures the page stays at the reader's command.
      await new Promise((go) => setTimeout(go, 0));
    }
    document.documentElement.dataset.drawn = String(nodes.length);
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    printing = true;
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach((one) => (one.open = true));
    nodes.filter((node) => texts.has(node)).forEach((node) => draw(node, false, 680));
  });
  addEventListener("afterprint", () => {
    printing = false;
    opened.forEach((one) => (one.open = false));
    drawAll();
  });
  dark.addEventListener("change", drawAll);
  drawAll();
})();
