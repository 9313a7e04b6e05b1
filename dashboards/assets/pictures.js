// The pictures of the field: asked for one at a time, only the newest that is wanted, and kept. Those beside the one that
// is looked at are fetched while nothing else is, so that the next key finds its picture here.
(function () {
  const KEPT = 32; // pictures
  const AHEAD = 4; // pictures in the direction of the last move, and one in the other
  const QUIET = 20, REST = 1500; // ms of nothing new before the first of them; the longer while the page follows
  const STILL = 100; // ms without another picture until what is beside it is asked for
  const api = window.dash_clientside = window.dash_clientside || {};
  const kept = new Map(); // address → picture, the one that was not looked at for longest first
  const tried = new Set(); // addresses that were fetched ahead since the last move
  let wanted = null; // address of the picture that is to be seen
  let asking = null, fetching = null; // addresses that are on their way, the other one ahead of a move
  let before = null; // the picture on screen as it was sent
  let place = -1, direction = -1, due = 0, resting = 0;

  const props = function (id) {
    return api.gradlab.props(id);
  };
  const set = function (id, values) {
    if (props(id)) api.set_props(id, values);
  };
  // Address of the picture on screen; a page that is opened anew has none.
  const shown = function () {
    const said = props("field-shown").data;
    return said ? said.key : null;
  };
  // All that a picture depends on is in its address: its place, too, for its trail goes through those before it.
  const address = function (step, number) {
    const token = props("token").data || {}, beside = props("beside").value;
    const compared = token.compared || {};
    const parts = {
      run: token.run, epoch: token.epoch, step: step, place: number,
      critic: props("critic").value, state: props("state").value, plane: props("plane").value, beside: beside,
      theme: props("scheme").data, room: props("room").data,
    };
    if (beside === "runs") {
      parts.compare = Object.keys(compared).join(",");
      // As the others go on, their nearest pictures become others.
      parts.news = Object.keys(compared).map(function (run) { return compared[run].field; }).join(",");
    }
    return "/field/picture?" + Object.keys(parts)
      .filter(function (name) { return parts[name] !== undefined && parts[name] !== null; })
      .map(function (name) { return name + "=" + encodeURIComponent(parts[name]); }).join("&");
  };
  const keep = function (where, picture) {
    kept.delete(where);
    kept.set(where, picture);
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  };
  const differ = function (one, other) {
    return JSON.stringify(one) !== JSON.stringify(other);
  };
  // Dash writes into the layout on screen where somebody zooms, so what the picture before had alike stays as it is; and
  // Plotly writes into what it is given, so that what is kept is copied.
  const copy = function (figure) {
    const now = props("field").figure.layout, layout = {};
    const same = before !== null && before.key === shown() && before.layout.uirevision === figure.layout.uirevision;
    Object.keys(figure.layout).forEach(function (name) {
      const part = figure.layout[name];
      if (same && name in now && !differ(before.layout[name], part)) layout[name] = now[name];
      else layout[name] = structuredClone(part);
    });
    return { data: figure.data.map(function (trace) { return Object.assign({}, trace); }), layout: layout };
  };
  const paint = function (where, picture) {
    const graph = { figure: copy(picture.figure) };
    before = { key: where, layout: picture.figure.layout };
    if (differ(props("field").style, picture.style)) graph.style = picture.style;
    set("field", graph);
    if (differ(props("field-frame").style, picture.frame)) set("field-frame", { style: picture.frame });
    if (differ(props("field-note").children, picture.note)) set("field-note", { children: picture.note });
    if (differ(props("field-trouble").children, picture.trouble)) set("field-trouble", { children: picture.trouble });
    set("field-shown", { data: { key: where, step: picture.step } });
    api.gradlabPlay.shown();
    clearTimeout(resting);
    resting = setTimeout(function () { set("field-rest", { data: where }); }, STILL);
  };
  const placed = function (where) {
    return Number(where.match(/&place=([^&]*)/)[1]);
  };
  // Whether an address differs from the one that is wanted in its step alone, and is nearer to it than what is on screen.
  const nearer = function (where) {
    const now = shown();
    const rest = [where, wanted, now || wanted].map(function (one) { return one.replace(/&(step|place)=[^&]*/g, ""); });
    if (rest[0] !== rest[1]) return false;
    if (now === null || rest[2] !== rest[1]) return true;
    return Math.abs(placed(where) - placed(wanted)) < Math.abs(placed(now) - placed(wanted));
  };
  const ask = function (where, ahead) {
    if (ahead) fetching = where;
    else asking = where;
    return fetch(where, { cache: "no-store" })
      .then(function (answer) { return answer.ok ? answer.json() : null; })
      .catch(function () { return null; })
      .then(function (picture) {
        if (ahead) fetching = null;
        else asking = null;
        if (!props("field")) return;
        // What could not be read may be read the next time; while there is no step there is no picture yet.
        if (picture && picture.step !== null && !picture.trouble) keep(where, picture);
        const behind = wanted !== shown();
        // Another may have become the one that is wanted.
        if (behind && where !== wanted) show(wanted);
        // What was wanted in passing is seen, too: where steps come faster than pictures, none would be otherwise.
        const passing = !ahead && wanted !== shown() && nearer(where);
        if (picture && behind && (where === wanted || passing)) paint(where, picture);
        if (picture) later();
      });
  };
  const show = function (where) {
    const picture = kept.get(where);
    if (picture) {
      keep(where, picture);
      paint(where, picture);
    } else if (asking === null && fetching !== where) ask(where, false);
  };
  const look = function () {
    if (!props("field") || !props("scheme").data || !props("room").data) return;
    const at = props("at").data || [null, -1];
    if (at[1] !== place) direction = at[1] > place && place >= 0 ? 1 : -1;
    place = at[1];
    const now = address(at[0], at[1]);
    if (now !== wanted) tried.clear();
    wanted = now;
    if (wanted !== shown()) show(wanted);
    later();
  };
  const later = function () {
    clearTimeout(due);
    due = setTimeout(ahead, props("follow").checked ? REST : QUIET);
  };
  const ahead = function () {
    const steps = api.gradlabStep.stops();
    if (!steps || !props("field") || asking !== null || fetching !== null || document.hidden) return;
    const near = [];
    if (props("follow").checked) near.push(place - 1);
    else {
      for (let far = 1; far <= AHEAD; far += 1) near.push(place + far * direction);
      near.push(place - direction);
    }
    const next = near
      .filter(function (one) { return one >= 0 && one < steps.length; })
      .map(function (one) { return address(steps[one], one); })
      .find(function (where) { return !kept.has(where) && !tried.has(where); });
    if (!next) return;
    tried.add(next);
    ask(next, true);
  };
  api.gradlabPictures = {
    // Shows the picture of what is looked at now.
    look: look,
    depend: function () {
      look();
      return api.no_update;
    },
  };
})();
