// Files: what the server exports, fetched so that an answer that is an error is said on the page; and figures as they are
// seen, as PNG, SVG or JSON.
(function () {
  const set = function (id, props) {
    if (window.dash_clientside.set_props && document.getElementById(id)) window.dash_clientside.set_props(id, props);
  };
  const give = function (blob, name) {
    const link = document.createElement("a"), address = URL.createObjectURL(blob);
    link.href = address;
    link.download = name;
    document.body.appendChild(link);
    link.click();
    link.remove();
    setTimeout(function () { URL.revokeObjectURL(address); }, 60000);
  };
  const size = function (bytes) {
    return bytes < 1e6 ? Math.max(1, Math.round(bytes / 1e3)) + " kB" : (bytes / 1e6).toFixed(1) + " MB";
  };

  const fetched = function (link) {
    if (link.dataset.busy) return;
    link.dataset.busy = "1";
    const say = function (text) { set("export-said", { children: text }); };
    say("Making " + link.pathname.split("/").pop() + " …");
    fetch(link.href, { cache: "no-store" })
      .then(function (answer) {
        if (!answer.ok) return answer.text().then(function (why) { say(why); });
        const said = /filename="?([^";]+)/.exec(answer.headers.get("Content-Disposition") || "");
        const name = said ? said[1] : link.pathname.split("/").pop();
        return answer.blob().then(function (blob) {
          give(blob, name);
          say(name + ", " + size(blob.size) + ".");
        });
      })
      .catch(function () { say("The dashboard is not answering."); })
      .then(function () { delete link.dataset.busy; });
  };

  // Run, step and figure, as far as they are known.
  const named = function (figure, form) {
    const run = document.querySelector(".run[data-checked]");
    const step = window.dash_clientside.gradlabStep && window.dash_clientside.gradlabStep.step();
    const parts = [run ? run.innerText.split("\n")[0] : "gradlab", step === null ? "" : "step " + step, figure];
    const plain = parts.join(" ").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
    return plain + "." + form;
  };

  // Plotly's packed arrays as lists of numbers, for whatever reads them; what JSON has no word for is null.
  const KINDS = {
    i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f4: Float32Array,
    f8: Float64Array,
  };
  const finite = function (one) { return typeof one === "number" && !Number.isFinite(one) ? null : one; };
  const rows = function (list, shape) {
    if (shape.length < 2) return list;
    const length = list.length / shape[0];
    return Array.from({ length: shape[0] }, function (_, at) {
      return rows(list.slice(at * length, (at + 1) * length), shape.slice(1));
    });
  };
  const plain = function (value) {
    if (ArrayBuffer.isView(value)) return Array.from(value, finite);
    if (Array.isArray(value)) return value.map(plain);
    if (value === null || typeof value !== "object") return finite(value);
    if (value.bdata !== undefined && KINDS[value.dtype]) {
      const packed = atob(value.bdata), bytes = Uint8Array.from(packed, function (one) { return one.charCodeAt(0); });
      const list = Array.from(new KINDS[value.dtype](bytes.buffer), finite);
      return rows(list, String(value.shape || list.length).split(",").map(Number));
    }
    const found = {};
    Object.keys(value).forEach(function (name) { if (name[0] !== "_") found[name] = plain(value[name]); });
    return found;
  };

  const saved = function (menu, form) {
    const node = menu.parentElement.querySelector(".js-plotly-plot");
    if (!node || !node._fullLayout) return;
    const name = named(menu.dataset.figure, form);
    if (form === "json") {
      const spec = JSON.stringify({ data: plain(node.data), layout: plain(node.layout) });
      give(new Blob([spec], { type: "application/json" }), name);
      return;
    }
    // On the ground that it is seen on: its own is transparent, and its words are as light or dark as that one.
    const ground = getComputedStyle(document.documentElement).getPropertyValue("--card").trim();
    const layout = Object.assign({}, node.layout, { paper_bgcolor: ground, plot_bgcolor: ground });
    const look = { format: form, width: node._fullLayout.width, height: node._fullLayout.height, scale: form === "png" ? 2 : 1 };
    window.Plotly.toImage({ data: node.data, layout: layout }, look).then(function (address) {
      // The page's policy lets nothing be asked of an address that is the data itself.
      const body = address.slice(address.indexOf(",") + 1);
      const bytes = form === "svg" ? decodeURIComponent(body) : Uint8Array.from(atob(body), function (one) { return one.charCodeAt(0); });
      give(new Blob([bytes], { type: form === "svg" ? "image/svg+xml" : "image/png" }), name);
    });
  };

  const close = function (but) {
    document.querySelectorAll("details.save[open]").forEach(function (one) { if (one !== but) one.open = false; });
  };
  document.addEventListener("click", function (event) {
    const at = event.target;
    if (!at.closest) return;
    const link = at.closest("a[data-export]");
    if (link && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      fetched(link);
      return;
    }
    const menu = at.closest("details.save"), button = at.closest("[data-save]");
    close(menu);
    if (!menu || !button) return;
    menu.open = false;
    saved(menu, button.dataset.save);
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "Escape") return;
    const open = document.querySelector("details.save[open]");
    close(null);
    if (open) open.querySelector("summary").focus();
  });

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.gradlabSave = {
    // The report that was asked for here is made: its link is there in a moment.
    report: function (number) {
      if (!number) return;
      let tries = 0;
      const look = function () {
        const link = document.querySelector("#report-file a");
        if (link) fetched(link);
        else if ((tries += 1) < 50) setTimeout(look, 40);
      };
      look();
    },
  };
})();
