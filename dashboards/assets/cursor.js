// Where the chosen step is in figures over training: a thin line over the plot, which costs the server nothing.
(function () {
  let step = null;
  const lines = function (holder, node) {
    const layout = node._fullLayout;
    const places = [];
    if (step !== null && layout && layout._size) {
      Object.keys(layout).filter(function (name) { return /^xaxis\d*$/.test(name); }).forEach(function (name) {
        const axis = layout[name];
        if (!axis || axis.visible === false || axis._offset === undefined || !axis.l2p) return;
        const x = axis.l2p(step);
        if (!(x >= -0.5 && x <= axis._length + 0.5)) return;
        // Over the panels that are drawn on this axis, which may be several.
        const panels = node._fullData
          .filter(function (trace) { return (trace.xaxis || "x") === axis._id; })
          .map(function (trace) { return layout["yaxis" + (trace.yaxis || "y").slice(1)]; })
          .filter(Boolean);
        if (!panels.length) return;
        const top = Math.min.apply(null, panels.map(function (one) { return one._offset; }));
        const bottom = Math.max.apply(null, panels.map(function (one) { return one._offset + one._length; }));
        places.push({ left: axis._offset + x, top: top, height: bottom - top });
      });
    }
    while (holder.children.length > places.length) holder.lastChild.remove();
    while (holder.children.length < places.length) holder.appendChild(document.createElement("i"));
    places.forEach(function (place, index) {
      Object.keys(place).forEach(function (name) { holder.children[index].style[name] = place[name] + "px"; });
    });
  };
  const draw = function () {
    document.querySelectorAll(".over-training").forEach(function (graph) {
      const node = graph.querySelector(".js-plotly-plot");
      if (!node || !node.on) return;
      let holder = graph.querySelector(":scope .cursor");
      if (!holder) {
        holder = document.createElement("div");
        holder.className = "cursor";
        node.parentElement.appendChild(holder);
      }
      if (!node.gradlabCursor) {
        node.gradlabCursor = true;
        node.on("plotly_afterplot", function () { lines(holder, node); });
        node.on("plotly_relayouting", function () { lines(holder, node); });
      }
      lines(holder, node);
    });
  };
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.gradlabCursor = {
    mark: function (at, follow) {
      step = follow || !at ? null : at[0];
      draw();
    },
  };
  // Graphs come and go with the pages.
  let due = 0;
  new MutationObserver(function () {
    if (step === null || due) return;
    due = setTimeout(function () { due = 0; draw(); }, 150);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
