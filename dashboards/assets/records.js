// The table of raw records: a title that is pressed sorts by it, a record that is pressed opens or closes.
(function () {
  let focused = null; // what was pressed last and has the focus still: rows are made anew, and lose it
  document.addEventListener("focusin", function (event) { focused = event.target.closest("#records [data-record], [data-order]"); });
  new MutationObserver(function () {
    if (!focused || focused.isConnected || document.activeElement !== document.body) return;
    const name = focused.dataset.record === undefined ? "order" : "record";
    const again = document.querySelector("[data-" + name + "='" + focused.dataset[name] + "']");
    focused = null;
    if (again) again.focus({ preventScroll: true });
  }).observe(document.documentElement, { childList: true, subtree: true });
  document.addEventListener("click", function (event) {
    const pressed = event.target.closest && event.target.closest("[data-order], [data-record]");
    if (!pressed || !window.dash_clientside.set_props) return;
    if (pressed.dataset.record !== undefined) {
      const open = pressed.getAttribute("aria-expanded") === "true";
      window.dash_clientside.set_props("opened", { data: open ? null : Number(pressed.dataset.record) });
      return;
    }
    // The largest first, and the smallest when it is pressed once more.
    const said = pressed.closest("th").getAttribute("aria-sort");
    window.dash_clientside.set_props("order", { value: (said === "descending" ? "" : "-") + pressed.dataset.order });
  });
})();
