// What figures depend on, taken apart by probe: a figure asks the server only when its own probe has measured.
(function () {
  let said = {}; // what each part was told last
  const only = function (last, name) {
    const found = {};
    if (last && last[name] !== undefined) found[name] = last[name];
    return found;
  };
  const part = function (token, name) {
    if (!token) return null;
    const found = { run: token.run, epoch: token.epoch, last: only(token.last, name) };
    if (token.compared) {
      found.compared = {};
      Object.keys(token.compared).forEach(function (run) { found.compared[run] = only(token.compared[run], name); });
    }
    return found;
  };
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.gradlabTokens = {
    split: function (token) {
      return window.dash_clientside.callback_context.outputs_list.map(function (output) {
        const now = part(token, output.id.slice("token-".length));
        const words = JSON.stringify(now);
        if (words === said[output.id]) return window.dash_clientside.no_update;
        said[output.id] = words;
        return now;
      });
    },
    // The step that is looked at; none while the newest is, whichever that is.
    moment: function (at, follow) {
      const now = at && !follow ? at[0] : null, words = JSON.stringify(now);
      if (words === said.moment) return window.dash_clientside.no_update;
      said.moment = words;
      return now;
    },
    // After answers were lost: everything is told once more.
    forget: function () { said = {}; },
  };
})();
