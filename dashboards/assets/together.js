// Questions that are asked at the same moment travel together: each request by itself would cost server and browser more
// than most of the answers do.
(function () {
  const ask = window.fetch.bind(window);
  let waiting = [];

  const answer = function (line) {
    const status = Number(line.slice(0, 3));
    const headers = { "Content-Type": "application/json" };
    return new Response(status === 204 ? null : line.slice(4), { status: status, headers: headers });
  };
  const send = function () {
    const asked = waiting;
    waiting = [];
    if (asked.length === 1) {
      asked[0].resolve(ask(asked[0].what, asked[0].options));
      return;
    }
    const body = asked.map(function (one) { return one.options.body; }).join("\n");
    ask("/_dash-update-component/together", Object.assign({}, asked[0].options, { body: body }))
      .then(function (found) {
        if (found.ok) return found.text();
        // What is wrong with all of them is wrong with each.
        asked.forEach(function (one) { one.resolve(found.clone()); });
        return null;
      })
      .then(function (text) {
        if (text === null) return;
        const lines = text.split("\n");
        if (lines.length !== asked.length) throw new TypeError("not as many answers as questions");
        asked.forEach(function (one, place) { one.resolve(answer(lines[place])); });
      })
      .catch(function (error) {
        asked.forEach(function (one) { one.reject(error); });
      });
  };

  window.fetch = function (what, options) {
    const address = String(what && what.url ? what.url : what);
    const alone = !address.includes("_dash-update-component") || !options || typeof options.body !== "string";
    if (alone || options.signal) return ask(what, options);
    return new Promise(function (resolve, reject) {
      waiting.push({ what: what, options: options, resolve: resolve, reject: reject });
      if (waiting.length === 1) setTimeout(send, 0);
    });
  };
})();
