// Plays through training: from picture to picture, each asked for when the last one is painted, not sooner.
(function () {
  const PATIENCE = 8000; // ms after which a picture that has not come is not waited for
  let playing = false, due = 0, began = 0, waiting = 0;
  let target = null, late = false, starting = false;

  const set = function (id, props) {
    if (window.dash_clientside.set_props) window.dash_clientside.set_props(id, props);
  };
  const data = function (id) {
    const props = window.dash_clientside.gradlab.props(id);
    return props ? props.data : undefined;
  };
  const pause = function () {
    const speed = document.querySelector("#speed input:checked");
    const usual = speed ? 1000 / Number(speed.value) : 500;
    // Whoever wants less motion sees a picture a second at most.
    return matchMedia("(prefers-reduced-motion: reduce)").matches ? Math.max(1000, usual) : usual;
  };
  const show = function () {
    const button = document.getElementById("play");
    if (!button) return;
    button.setAttribute("aria-pressed", String(playing));
    button.setAttribute("aria-label", playing ? "Pause" : "Play through training");
    button.classList.toggle("playing", playing);
  };
  const stop = function () {
    playing = starting = false;
    target = null;
    clearTimeout(due);
    clearTimeout(waiting);
    show();
  };
  const last = function () {
    const at = data("at");
    return !at || at[0] === null || at[1] >= at[2] - 1;
  };
  const ask = function (step) {
    began = Date.now();
    target = step;
    late = false;
    clearTimeout(waiting);
    waiting = setTimeout(function () { late = true; settle(); }, PATIENCE);
    window.dash_clientside.gradlabStep.to(step);
  };
  const next = function () {
    if (!playing) return;
    const at = data("at"), stops = at ? at[3] : [], place = at ? stops.indexOf(at[0]) : -1;
    if (!document.getElementById("play") || last() || place < 0 || place + 1 >= stops.length) stop();
    else ask(stops[place + 1]);
  };
  // The picture and the place of the slider are two answers, and come in any order.
  const settle = function () {
    const at = data("at"), shown = data("field-shown");
    if (!playing || target === null || !at) return;
    if (!late && (at[0] !== target || !shown || shown.step !== target)) return;
    target = null;
    clearTimeout(waiting);
    clearTimeout(due);
    // After the browser has drawn it.
    requestAnimationFrame(function () {
      due = setTimeout(next, Math.max(20, pause() - (Date.now() - began)));
    });
  };
  const toggle = function () {
    if (playing) {
      stop();
      return;
    }
    const at = data("at");
    if (!at || at[2] < 2) return;
    playing = true;
    show();
    if (last()) {
      // From the beginning again.
      const thumb = document.querySelector("#slider [role=slider]");
      set("follow", { checked: false });
      // The first stop may be above the lower end: it is known when the slider has come to it.
      starting = true;
      ask(thumb ? Number(thumb.getAttribute("aria-valuemin")) : 0);
    } else next();
  };
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.gradlabPlay = {
    // What is on screen has changed.
    shown: settle,
    // What is looked at has.
    know: function () {
      const at = data("at");
      if (starting && at && at[1] === 0) {
        starting = false;
        target = at[0];
      }
      settle();
    },
  };
  document.addEventListener("click", function (event) {
    const target = event.target.closest && event.target.closest("#play");
    if (target) toggle();
    // Whoever takes the slider has it.
    else if (playing && event.target.closest && event.target.closest("#slider, #before, #after, #tabs")) stop();
  });
  document.addEventListener("keydown", function (event) {
    if (event.key !== "p" || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const within = event.target.closest;
    if (within && event.target.closest("input:not([type=checkbox]):not([type=radio]), textarea, [contenteditable], [role=dialog], [role=listbox]")) return;
    if (document.getElementById("play")) toggle();
  });
})();
