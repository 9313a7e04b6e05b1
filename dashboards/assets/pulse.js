// When the page asks what is new: as often as "refresh" says, and at once after a change that comes after a rest. Between
// two pulses it asks only whether the store changed at all, which costs the server next to nothing.
(function () {
  const LOOK = 250; // ms between two of these small questions
  const PATIENCE = 60000; // ms for which an answer is waited for: one that is lost altogether is not for ever
  const api = window.dash_clientside = window.dash_clientside || {};
  let open = 0; // pulses that are not answered yet
  let beaten = 0, changed = 0, looked = 0; // when
  let known = null, waiting = false, looking = false;

  const look = function () {
    looking = true;
    looked = Date.now();
    const before = beaten;
    fetch("/news", { cache: "no-store" })
      .then(function (answer) { return answer.ok ? answer.text() : known; }, function () { return known; })
      .then(function (found) {
        looking = false;
        // What came before a pulse that was asked for meanwhile is in its answer.
        if (known !== null && found !== known && before === beaten) waiting = true;
        known = found;
        tick();
      });
  };
  const tick = function () {
    const live = document.getElementById("live");
    if (!window.dash_clientside.set_props || !live) return;
    if (document.hidden || window.gradlabHeld || window.gradlabLive === false) return;
    const refresh = Number(live.dataset.refresh), now = Date.now();
    // Dash drops what it hears of a pulse when the next has been asked: where answers take longer than it is between two,
    // none would ever be seen.
    if (open > 0 && now - beaten < PATIENCE) return;
    // Where a small question would soon say more, it goes first.
    const often = refresh >= 2 * LOOK;
    if ((waiting && now - changed >= refresh) || now - beaten >= refresh + (often ? LOOK : 0)) {
      if (waiting) changed = now;
      waiting = false;
      beaten = now;
      window.dash_clientside.set_props("pulse", { n_intervals: now });
    } else if (often && !looking && !waiting && now - looked >= LOOK) {
      look();
    }
  };
  api.gradlabPulse = {
    // Told of every question to the server, with its answer to come.
    asked: function (question, answer) {
      if (!question.includes('"pulse.n_intervals"')) return;
      open += 1;
      // Dash takes a moment to read it.
      const done = function () { setTimeout(function () { open -= 1; }, 60); };
      answer.then(done, done);
    },
  };
  setInterval(tick, 50);
})();
