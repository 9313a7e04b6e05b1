// Links to a place on the open page: it is brought into view and given the focus, without a word in the address.
document.addEventListener("click", function (event) {
  const link = event.target.closest && event.target.closest("a[data-show]");
  if (!link || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const place = document.getElementById(link.dataset.show);
  event.preventDefault();
  if (!place) return;
  if (!place.hasAttribute("tabindex")) place.setAttribute("tabindex", "-1");
  place.focus({ preventScroll: true });
  place.scrollIntoView({ block: "start", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
});
