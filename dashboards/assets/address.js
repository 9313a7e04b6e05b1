// What is looked at is in the address: it can be sent, reloaded, and gone back from. The address is read once when the
// page is loaded and whenever the browser goes back or forward; everything else writes it.
(function () {
  const said = {}; // what the address says, of the open page and of pages that were open before
  const SHARED = ["run", "compare", "step"];
  let path = null, restoring = false;

  window.dash_clientside = window.dash_clientside || {};
  const set = function (id, props) {
    window.dash_clientside.set_props(id, props);
  };
  const tabs = function () {
    return Array.from(document.querySelectorAll("#tabs a[data-path]"));
  };
  const choices = function (of) {
    const tab = tabs().find(function (one) { return one.dataset.path === of; });
    return tab ? JSON.parse(tab.dataset.choices) : {};
  };
  const address = function (of) {
    const usual = choices(of);
    const parts = SHARED.concat(Object.keys(usual))
      .filter(function (name) { return said[name] !== undefined && said[name] !== "" && said[name] !== usual[name]; })
      .map(function (name) { return name + "=" + encodeURIComponent(said[name]).replaceAll("%2C", ","); });
    return "/" + of + (parts.length ? "?" + parts.join("&") : "");
  };
  const write = function (push) {
    if (path === null) return;
    const now = address(path);
    if (now !== location.pathname + location.search) {
      history[push ? "pushState" : "replaceState"](null, "", now);
    }
    tabs().forEach(function (one) {
      const open = one.dataset.path === path;
      if (open) one.setAttribute("aria-current", "page");
      else one.removeAttribute("aria-current");
      one.setAttribute("href", address(one.dataset.path));
      if (open) document.title = one.textContent + " · gradlab";
    });
  };
  const mount = function () {
    set("page", { data: { path: path, query: Object.assign({}, said) } });
    window.scrollTo(0, 0);
    const tab = document.querySelector("#tabs a[aria-current]");
    if (tab) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  const open = function (to) {
    if (path === null || to === path) return;
    path = to;
    write(true);
    mount();
  };

  // From the address to the page: of what it does not say, what goes without saying.
  const read = function () {
    Object.keys(said).forEach(function (name) { delete said[name]; });
    new URLSearchParams(location.search).forEach(function (value, name) {
      if (name !== "token") said[name] = value;
    });
    path = location.pathname.replace(/^\/+|\/+$/g, "");
    restoring = true;
    const step = Number(said.step);
    const stepped = said.step !== undefined && Number.isFinite(step) && step >= 0;
    set("follow", { checked: !stepped });
    if (stepped) set("slider", { value: Math.round(step) });
    set("compare", { value: said.compare ? said.compare.split(",") : [] });
    if (said.run) set("run", { value: said.run });
    mount();
    write(false);
    // What these set in motion is not something that a person did.
    setTimeout(function () { restoring = false; }, 400);
  };

  window.dash_clientside.gradlabAddress = {
    keep: function (run, compare, at, follow) {
      if (path === null) return;
      const other = said.run !== undefined && run && run !== said.run;
      if (run) said.run = run;
      said.compare = (compare || []).join(",");
      if (follow) delete said.step;
      else if (at && at[0] !== null && !restoring) said.step = String(at[0]);
      write(Boolean(other) && !restoring);
    },
    choose: function () {
      window.dash_clientside.callback_context.inputs_list.forEach(function (one) {
        const value = Array.isArray(one.value) ? one.value.join(",") : one.value;
        if (value !== null && value !== undefined) said[one.id] = String(value);
      });
      write(false);
    },
    open: open,
  };

  // On a narrow screen the bar of pages is wider than the screen; browsers leave a link that is in view by a few pixels.
  document.addEventListener("focusin", function (event) {
    const link = event.target.closest && event.target.closest("a[data-path]");
    if (link) link.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  document.addEventListener("click", function (event) {
    const link = event.target.closest && event.target.closest("a[data-path], a[data-open]");
    if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    open(link.dataset.path === undefined ? link.dataset.open : link.dataset.path);
  });
  window.addEventListener("popstate", read);
  const start = function () {
    if (!window.dash_clientside.set_props || !document.getElementById("shell") || !tabs().length) {
      setTimeout(start, 20);
      return;
    }
    read();
  };
  start();
})();
