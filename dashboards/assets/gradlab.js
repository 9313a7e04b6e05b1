// What the browser does by itself: pause while hidden, leave "follow" when the slider is moved back, open the menu.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.gradlab = {
  menu: function (opened, navbar) {
    return Object.assign({}, navbar, { collapsed: { mobile: !opened } });
  },
  pause: function (on) {
    window.gradlabLive = on;
    return !on || document.hidden;
  },
  unfollow: function (value, max, follow) {
    if (follow && value < max) {
      window.dash_clientside.set_props("follow", { checked: false });
    }
  },
};

// Figures are drawn by the server, which has to know the page's colours; Mantine says them on the root element.
(function () {
  let said = null;
  const say = function () {
    const scheme = document.documentElement.getAttribute("data-mantine-color-scheme");
    if (!scheme || scheme === said) return;
    if (!window.dash_clientside.set_props || !document.getElementById("shell")) {
      setTimeout(say, 20);
      return;
    }
    said = scheme;
    window.dash_clientside.set_props("scheme", { data: scheme });
  };
  new MutationObserver(say).observe(document.documentElement, { attributeFilter: ["data-mantine-color-scheme"] });
  say();
})();

document.addEventListener("visibilitychange", function () {
  if (window.dash_clientside.set_props) {
    window.dash_clientside.set_props("pulse", { disabled: document.hidden || window.gradlabLive === false });
  }
});
