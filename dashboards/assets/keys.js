// The keyboard: pages, live, steps, search, theme, help. Never while somebody types, or where a key means something else.
(function () {
  const set = function (id, props) {
    if (window.dash_clientside.set_props) window.dash_clientside.set_props(id, props);
  };
  const go = function (by) {
    window.dash_clientside.gradlabStep.go(by);
  };
  const search = function () {
    const field = document.getElementById("search");
    if (!field) return;
    const focus = function () { field.focus(); field.select(); };
    focus();
    if (document.activeElement === field && field.getBoundingClientRect().right > 0) return;
    // On a narrow screen it is in the menu, which takes a moment to open.
    document.getElementById("burger").click();
    setTimeout(focus, 250);
  };
  const live = function () {
    const box = document.getElementById("live-on");
    if (box) box.click();
  };
  const theme = function () {
    const button = document.getElementById("theme");
    if (button) button.click();
  };
  document.addEventListener("click", function (event) {
    const button = event.target.closest && event.target.closest("#before, #after");
    if (button) go(button.id === "before" ? -1 : 1);
  });
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const at = event.target;
    const slider = at.closest && at.closest("#slider");
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (slider && arrow) {
      // From one measurement to the next, not from one step to the next.
      event.preventDefault();
      event.stopPropagation();
      go(arrow);
      return;
    }
    if (at.closest && at.closest("input:not([type=checkbox]), textarea, select, [contenteditable], [role=dialog], [role=listbox]")) {
      if (event.key === "Escape" && at.id === "search") at.blur();
      return;
    }
    const pressed = at.closest && at.closest("button, a, input, summary, [role=radio], [role=checkbox], [role=slider]");
    const tabs = document.querySelectorAll("#tabs a[data-path]");
    const number = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    const act =
      event.key === " " && (!pressed || at.id === "live-on") ? live
      : arrow && !(at.closest && at.closest("[role=radio], [role=slider], pre")) ? function () { go(arrow); }
      : event.key === "/" ? search
      : event.key === "t" ? theme
      : event.key === "?" ? function () { set("help", { opened: true }); }
      : number && number <= tabs.length ? function () { tabs[number - 1].click(); }
      : null;
    if (!act) return;
    event.preventDefault();
    act();
  }, true);
})();
