// Where the slider stands among the stops of the open page. The page knows them all, so that a key or a drag is answered
// here: the server is asked only where it does not know them yet.
(function () {
  const AROUND = 20; // stops to either side that "at" tells of; as dashboards/timeline.py has it
  const api = window.dash_clientside = window.dash_clientside || {};
  const FRESH = 1500; // ms for which an answer may come that was asked for before a move
  let at = null, wanted = null, hand = null, asked = 0;

  const set = function (id, props) {
    if (api.set_props) api.set_props(id, props);
  };
  const data = function (id) {
    return api.gradlab.props(id).data;
  };
  const follows = function () {
    return api.gradlab.props("follow").checked;
  };
  // The stops of what is looked at; null while those that are known are of another page, run or store.
  const stops = function () {
    const known = data("stops"), token = data("token"), page = data("page");
    const same = known && token && page
      && known.run === token.run && known.epoch === token.epoch && known.page === page.path;
    return same && known.steps.length ? known.steps : null;
  };
  // As dashboards/timeline.py does it.
  const nearest = function (steps, value) {
    let low = 0, high = steps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (steps[middle] < value) low = middle + 1;
      else high = middle;
    }
    if (low === steps.length) return low - 1;
    return low === 0 || steps[low] - value <= value - steps[low - 1] ? low : low - 1;
  };
  const said = function (step, place, count) {
    const of = " (" + (place + 1).toLocaleString("en-US") + " of " + count.toLocaleString("en-US") + ")";
    return [
      "step " + step.toLocaleString("en-US"),
      { namespace: "dash_html_components", type: "Span", props: { children: of, className: "of" } },
    ];
  };
  // Says where the slider is now; false where the server has to be asked.
  const put = function (value) {
    hand = value;
    asked = Date.now();
    const steps = stops();
    if (!steps) return false;
    const place = nearest(steps, value), before = data("at");
    const mark = [
      steps[place], place, steps.length, steps.slice(Math.max(0, place - AROUND), place + AROUND + 1), value,
    ];
    at = mark;
    set("at", { data: mark });
    if (!before || before[0] !== mark[0] || before[1] !== mark[1] || before[2] !== mark[2]) {
      set("slider-text", { children: said(mark[0], mark[1], mark[2]) });
    }
    // Not by way of "at": what depends on that waits for every question that is on its way.
    api.gradlabCursor.mark(mark, follows());
    api.gradlabPictures.look();
    return true;
  };
  const to = function (step) {
    set("slider", { value: step });
    put(step);
  };
  api.gradlabStep = {
    stops: stops,
    to: to,
    step: function () { return at ? at[0] : null; },
    // From stop to stop. Where the last answer is still on its way, from the one that was asked for.
    go: function (by) {
      const around = at ? at[3] : [];
      if (!around.length) return;
      const from = wanted !== null && Date.now() - asked < FRESH ? wanted : at[0];
      let place = around.indexOf(from);
      if (place < 0) place = from < around[0] ? 0 : around.length - 1;
      wanted = around[Math.min(Math.max(place + by, 0), around.length - 1)];
      if (wanted === from) return;
      // Both at once: what is asked between the two would have the slider follow, and take the key back.
      const back = at[1] + around.indexOf(wanted) - around.indexOf(at[0]) < at[2] - 1;
      if (back && follows()) set("follow", { checked: false });
      to(wanted);
    },
    // What is nearest to where the slider is, unless that was said with it.
    ask: function (value, at) {
      if (!at || at[4] === value || put(value)) return api.no_update;
      return [value, Date.now()];
    },
    know: function (value) {
      at = value;
      if (!at || at[0] === wanted) wanted = null;
      // What was asked while the page followed still may have answered that it is at the newest.
      if (at && hand !== null && at[4] !== hand && !follows() && Date.now() - asked < FRESH) to(hand);
      // What the page's choices offer now is asked for as well, and a picture is not to wait for that.
      api.gradlabPictures.look();
    },
  };
})();
