// What the browser does by itself: pause, leave "follow" when the slider is moved back, open the menu.
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.gradlab = {
  // What a component is now; undefined where there is none of that name.
  props: function (id) {
    try {
      return window.dash_component_api.getLayout(id).props;
    } catch (error) {
      // Dash's own function trips over a name that it does not know.
      return undefined;
    }
  },
  menu: function (opened, navbar) {
    const burger = document.getElementById("burger");
    if (burger) burger.setAttribute("aria-expanded", String(Boolean(opened)));
    return Object.assign({}, navbar, { collapsed: { mobile: !opened } });
  },
  pause: function (on) {
    window.gradlabLive = on;
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

// How many small panels fit beside each other is known here only; a figure of many is drawn for it.
(function () {
  let said = null;
  const say = function () {
    if (!window.dash_clientside.set_props || !document.getElementById("shell")) {
      setTimeout(say, 20);
      return;
    }
    const room = window.innerWidth > 1150 ? 3 : window.innerWidth > 720 ? 2 : 1;
    if (room === said) return;
    said = room;
    window.dash_clientside.set_props("room", { data: room });
  };
  window.addEventListener("resize", say);
  say();
})();

(function () {
  // The slider is made anew whenever a picture is added to it, which would end a drag and lose the keyboard's focus:
  // nothing new is asked for while it is held, and the new one is given the focus that the old one had.
  let focused = false;
  const within = function (event) {
    return Boolean(event.target.closest && event.target.closest("#slider"));
  };
  const release = function () {
    window.gradlabHeld = false;
  };
  document.addEventListener("pointerdown", function (event) {
    window.gradlabHeld = within(event);
    if (!window.gradlabHeld) focused = false;
  }, true);
  document.addEventListener("pointerup", release, true);
  document.addEventListener("pointercancel", release, true);
  document.addEventListener("focusin", function (event) { focused = within(event); });
  document.addEventListener("keydown", function (event) { if (event.key === "Tab") focused = false; }, true);

  const watch = function () {
    const slider = document.getElementById("slider");
    if (!slider) {
      setTimeout(watch, 100);
      return;
    }
    new MutationObserver(function () {
      const thumb = document.querySelector("#slider [role=slider]");
      if (focused && thumb && document.activeElement === document.body) thumb.focus({ preventScroll: true });
    }).observe(slider.parentElement, { childList: true });
  };
  watch();
})();
