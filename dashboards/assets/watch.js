// Says when the dashboard itself does not answer any more, and takes the page up again when it does.
(function () {
  const ask = window.fetch.bind(window);
  const SLOW = 8000; // ms after which a question without an answer is looked into
  const PAUSE = 1000; // ms between two attempts
  let away = false, leaving = false, looking = false;
  let token = null;

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.gradlabWatch = {
    remember: function (value) {
      token = value;
    },
  };

  const set = function (id, props) {
    if (window.dash_clientside.set_props) window.dash_clientside.set_props(id, props);
  };

  // The port is the page's own: started elsewhere, this page would wait for ever.
  const port = function () {
    return !location.port || location.port === "8050" ? "" : " --port " + location.port;
  };

  const show = function (gone) {
    if (gone === away) return;
    away = gone;
    if (gone) set("offline-port", { children: port() });
    document.documentElement.classList.toggle("offline", gone);
    if (!gone) {
      // Figures whose answer was lost ask again; those that are up to date are told so in a few bytes.
      window.dash_clientside.gradlabTokens.forget();
      set("token", { data: token });
      set("pulse", { n_intervals: Date.now() });
    }
  };

  // One lost answer may have been an idle connection; a small file says whether anybody is there.
  const look = function () {
    if (looking || leaving) return;
    looking = true;
    const stop = new AbortController();
    const clock = setTimeout(function () { stop.abort(); }, 2500);
    ask("/assets/favicon.svg", { method: "HEAD", cache: "no-store", signal: stop.signal })
      .then(function (answer) { return answer.status < 500; }, function () { return false; })
      .then(function (there) {
        clearTimeout(clock);
        looking = false;
        if (leaving) return;
        show(!there);
        if (!there) setTimeout(look, PAUSE);
      });
  };

  window.fetch = function (what, options) {
    const address = String(what && what.url ? what.url : what);
    const asked = ask(what, options);
    if (!address.includes("_dash-update-component") && !address.startsWith("/field/picture?")) return asked;
    window.dash_clientside.gradlabPulse.asked(String((options || {}).body), asked);
    const slow = setTimeout(look, SLOW);
    asked.then(
      function (answer) {
        clearTimeout(slow);
        if (answer.status >= 502) look();
      },
      function () {
        clearTimeout(slow);
        look();
      },
    );
    return asked;
  };
  window.addEventListener("pagehide", function () { leaving = true; });
  window.addEventListener("pageshow", function () { leaving = false; });
})();
