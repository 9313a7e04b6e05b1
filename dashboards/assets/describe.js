// What a graph shows, in a sentence for those who do not see it, and its numbers as a table for those who want them. Both
// are made of what plotly holds, so that they cost the server nothing; the words are those of the graph's own hover.
(function () {
  const REST = 400; // ms after a graph was drawn: of several updates at once the last is put in words
  const SAID = 6; // numbers in a sentence
  const ROWS = 40; // newest points of a line in a table
  const MARKS = /[●◆■▲✚▼✱╌⋯]/;

  // What d3-format makes of the few forms that hovers use: a comma, digits, and f, g or %.
  const printed = function (value, form) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "unknown" : value > 0 ? "∞" : "−∞";
    const found = /^(,?)(?:\.(\d+))?([fg%]?)$/.exec(form || "") || [];
    const digits = found[2] === undefined ? (found[3] === "f" ? 6 : 4) : Number(found[2]);
    const text = found[3] === "f" ? value.toFixed(digits)
      : found[3] === "%" ? (100 * value).toFixed(found[2] === undefined ? 0 : digits) + " %"
      : String(Number(value.toPrecision(Math.max(1, found[2] === undefined ? 6 : digits))));
    const grouped = found[1] ? text.replace(/^-?\d+/, function (whole) { return whole.replace(/\B(?=(\d{3})+$)/g, ","); }) : text;
    return grouped.replace("-", "−");
  };
  const plain = function (text) {
    return String(text || "").replace(/<extra>.*?<\/extra>/g, "").replace(/<br\s*\/?>/g, ", ").replace(/<[^>]*>/g, "")
      .replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&").replace(/\s+/g, " ").replace(/(, )+/g, ", ").trim();
  };
  const at = function (whole, index) {
    return whole === null || whole === undefined ? undefined
      : typeof whole === "string" || typeof whole === "number" ? whole : whole[index];
  };
  // The words of a hover at one point.
  const words = function (trace, index) {
    const template = at(trace.hovertemplate, index) || "";
    return plain(template.replace(/%\{([a-z]+)(?:\[(\d+)\])?(?::([^}]*))?\}/g, function (_, name, place, form) {
      const value = at(trace[name], index);
      return printed(place === undefined ? value : at(value, Number(place)), form);
    }));
  };
  const count = function (trace) {
    return trace.x && trace.x.length ? Math.min(trace.x.length, trace.y ? trace.y.length : trace.x.length) : 0;
  };
  const told = function (trace) {
    return trace.visible === true && trace.type !== "heatmap" && trace.hoverinfo !== "skip" && trace.hovertemplate && count(trace);
  };
  // The name above the panel that a trace is in, where that says more than the trace's own.
  const panel = function (layout, trace) {
    const x = layout["xaxis" + (trace.xaxis || "x").slice(1)], y = layout["yaxis" + (trace.yaxis || "y").slice(1)];
    if (!x || !y || !x.domain || !y.domain) return "";
    const note = (layout.annotations || []).find(function (one) {
      return one.yref === "paper" && one.xref === "paper" && Math.abs(one.y - y.domain[1]) < 0.002
        && Math.abs(one.x - x.domain[0]) < 0.002 && String(one.text).includes("<b>");
    });
    const name = note ? plain(note.text).replace(/ ?\?$/, "") : "";
    return MARKS.test(name) || name === plain(trace.name) ? "" : name;
  };
  const last = function (trace) {
    let index = count(trace) - 1;
    while (index > 0 && !Number.isFinite(trace.y[index])) index -= 1;
    return index;
  };
  const reach = function (values) {
    const known = Array.from(values).filter(Number.isFinite);
    return known.length ? printed(Math.min.apply(null, known), ".3g") + " to " + printed(Math.max.apply(null, known), ".3g") : "";
  };
  const heading = function (graph) {
    const part = graph.closest(".field-side, .card"), title = part && part.querySelector("h2, h3");
    return title ? title.textContent : document.title;
  };

  const sentence = function (graph, node) {
    const layout = node._fullLayout, items = [];
    let more = 0;
    node._fullData.forEach(function (trace) {
      if (trace.type === "heatmap" && trace.visible === true) {
        const title = trace.colorbar && trace.colorbar.title ? plain(trace.colorbar.title.text) : "";
        items.push((title || "colours") + " from " + printed(trace.zmin, ".3g") + " to " + printed(trace.zmax, ".3g"));
      }
      if (!told(trace)) return;
      const name = panel(layout, trace), before = name ? name + ": " : "", size = count(trace);
      const lines = String(trace.mode || "").includes("lines"), each = Array.isArray(trace.text) && trace.text.length === size;
      if (!lines && trace.type === "scatter" && size > 3 && !each) {
        items.push(before + plain(trace.name) + ": " + size + " points, from " + reach(trace.x) + " across and " + reach(trace.y) + " up");
        return;
      }
      const from = lines || !each ? last(trace) : 0;
      for (let index = from; index < (lines || !each ? from + 1 : size); index += 1) {
        const said = words(trace, index);
        if (!said) continue;
        if (items.length < SAID) items.push(before + said);
        else more += 1;
      }
    });
    const notes = items.length ? [] : (layout.annotations || []).map(function (one) { return plain(one.text); }).filter(Boolean);
    const rest = more ? "; and " + more + " more in the table of its numbers" : "";
    return heading(graph) + ". " + (items.length ? items.join("; ") + rest : notes.join("; ") || "No data yet") + ".";
  };

  const rows = function (node) {
    const layout = node._fullLayout, found = [];
    node._fullData.filter(told).forEach(function (trace) {
      const name = [panel(layout, trace), plain(trace.name)].filter(Boolean).join(", "), size = count(trace);
      // A line of estimates holds them beside its points: the value, its interval and n; or the last three alone.
      const four = /\[%\{customdata\[1\][^\]]*%\{customdata\[2\]/.test(trace.hovertemplate);
      const three = /\[%\{customdata\[0\][^\]]*%\{customdata\[1\]/.test(trace.hovertemplate);
      for (let index = size - 1; index >= Math.max(0, size - ROWS); index -= 1) {
        const known = at(trace.customdata, index), x = printed(trace.x[index], ",");
        if (four || three) {
          const cells = four ? [known[0], known[1], known[2], known[3]] : [trace.y[index], known[0], known[1], known[2]];
          found.push([name, x].concat(cells.map(function (one, place) { return printed(one, place < 3 ? ".5g" : ","); })));
        } else found.push([name, x, words(trace, index)]);
      }
    });
    return found;
  };
  const cell = function (row, kind, text, span) {
    const made = document.createElement(kind);
    made.textContent = text;
    if (span > 1) made.colSpan = span;
    if (kind === "th") made.scope = "col";
    row.appendChild(made);
  };
  const fill = function (details, graph, node) {
    const found = rows(node), mark = JSON.stringify(found), holder = details.querySelector(".rows");
    if (holder.dataset.mark === mark) return;
    holder.dataset.mark = mark;
    const table = document.createElement("table"), caption = table.createCaption(), head = table.createTHead().insertRow();
    caption.textContent = heading(graph) + ": the newest points first, at most " + ROWS + " of a line";
    ["line", "at", "value", "95 % from", "to", "n"].forEach(function (name) { cell(head, "th", name, 1); });
    const body = table.createTBody();
    found.forEach(function (one) {
      const row = body.insertRow();
      one.forEach(function (text, place) { cell(row, "td", text, one.length === 3 && place === 2 ? 4 : 1); });
    });
    if (!found.length) cell(body.insertRow(), "td", "no numbers yet", 6);
    holder.replaceChildren(table);
  };

  const put = function (graph) {
    const node = graph.querySelector(".js-plotly-plot");
    if (!node || !node._fullLayout || !node._fullData) return;
    const [first, ...others] = node.querySelectorAll("svg.main-svg");
    if (!first) return;
    const said = sentence(graph, node);
    first.setAttribute("role", "img");
    if (first.getAttribute("aria-label") !== said) first.setAttribute("aria-label", said);
    others.forEach(function (one) { one.setAttribute("aria-hidden", "true"); });
    document.querySelectorAll("details.numbers[open]").forEach(function (one) {
      if (graphOf(one) === graph) fill(one, graph, node);
    });
  };
  const graphOf = function (details) {
    const named = details.dataset.graph && document.getElementById(details.dataset.graph);
    return named || details.closest(".card").querySelector(".dash-graph");
  };

  const due = new Map();
  const soon = function (graph) {
    if (due.has(graph)) return;
    due.set(graph, setTimeout(function () {
      due.delete(graph);
      if (graph.isConnected) put(graph);
    }, REST));
  };
  // Graphs come and go with the pages.
  let looking = 0;
  const look = function () {
    looking = 0;
    document.querySelectorAll(".dash-graph").forEach(function (graph) {
      const node = graph.querySelector(".js-plotly-plot");
      if (!node || !node.on || node.gradlabWords) return;
      node.gradlabWords = true;
      node.on("plotly_afterplot", function () { soon(graph); });
      soon(graph);
    });
  };
  new MutationObserver(function () {
    if (!looking) looking = setTimeout(look, 150);
  }).observe(document.documentElement, { childList: true, subtree: true });
  document.addEventListener("toggle", function (event) {
    const details = event.target;
    if (!details.matches || !details.matches("details.numbers[open]")) return;
    const graph = graphOf(details), node = graph && graph.querySelector(".js-plotly-plot");
    if (node && node._fullData) fill(details, graph, node);
  }, true);
})();
