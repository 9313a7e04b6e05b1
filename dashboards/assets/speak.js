// What screen readers say without being asked: the answer and what is wrong, at once where the page, the run or the verdict
// is another, and otherwise not more often than every so often, however often the numbers in it change.
(function () {
  const REST = 30000; // ms between two sentences that differ by their numbers alone
  let key = null, said = "", when = 0, due = 0;
  const text = function (id) {
    const node = document.getElementById(id);
    return node ? node.innerText.replace(/\s+/g, " ").trim() : "";
  };
  const speak = function () {
    due = 0;
    const region = document.getElementById("spoken"), words = [text("notice"), text("answer-text")].filter(Boolean).join(" ");
    if (!region || !words || words === said) return;
    said = words;
    when = Date.now();
    region.dataset.said = words;
    // Where a browser cannot be told so, what is to be said has to be on the page once more.
    if (document.ariaNotify) document.ariaNotify(words);
    else region.textContent = words;
  };
  const look = function () {
    const card = document.querySelector("#answer .answer");
    const now = [location.pathname, new URLSearchParams(location.search).get("run"), card && card.className, text("notice").replace(/\d+/g, "")];
    const other = JSON.stringify(now) !== key;
    if (due && !other) return;
    key = JSON.stringify(now);
    clearTimeout(due);
    // What comes in parts is said as a whole.
    due = setTimeout(speak, other ? 500 : Math.max(500, REST - (Date.now() - when)));
  };
  const start = function () {
    const watched = ["answer", "notice"].map(function (id) { return document.getElementById(id); });
    if (watched.some(function (one) { return !one; })) {
      setTimeout(start, 100);
      return;
    }
    const observer = new MutationObserver(look);
    watched.forEach(function (one) { observer.observe(one, { childList: true, subtree: true, characterData: true }); });
    look();
  };
  start();
})();
