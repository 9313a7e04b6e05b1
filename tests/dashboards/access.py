"""What the tests of access ask a page: what the Tab key reaches, what is named, and how far text is from its ground."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

#: What a part of the page is called in a complaint.
_CALLED = (
    "(one) => `${one.tagName} ${one.id || one.className} "
    '${one.getAttribute("aria-label") ?? one.textContent.trim().slice(0, 30)}`'
)

#: After a press of Tab: what has the focus, whether that is seen, and what lies over it.
_AT = r"""() => {
  const node = document.activeElement;
  if (!node || node === document.body || node === document.documentElement) return null;
  const walked = (window.walked ??= []);
  if (walked.includes(node)) return { again: true };
  const before = walked.at(-1);
  walked.push(node);
  const outlined = (one) => {
    const style = getComputedStyle(one);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && !/, 0\)$/.test(style.outlineColor);
  };
  // A box or a switch that is drawn beside an unseen input has the ring for it.
  const near = [node, ...node.parentElement.children, ...(node.labels ?? [])];
  const box = (one) => one.getBoundingClientRect();
  const large = (one) => box(one).width > 4 && box(one).height > 4;
  const seen = near.find((one) => large(one) && getComputedStyle(one).opacity > 0.5) ?? node;
  const at = box(seen), x = at.x + at.width / 2, y = at.y + Math.min(at.height / 2, 20);
  const top = document.elementFromPoint(x, y);
  const within = top && (seen.contains(top) || top.contains(seen) || node.parentElement.contains(top));
  const under = top && top.closest("header, footer") && !seen.closest("header, footer");
  return {
    name: (CALLED)(node),
    ring: near.some(outlined),
    covered: !within || Boolean(under),
    backwards: Boolean(before && before.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_PRECEDING),
  };
}""".replace("CALLED", _CALLED)

#: What can be operated and was not reached; of radio buttons with one name one is enough.
_MISSED = r"""() => {
  const walked = new Set(window.walked), names = new Set([...walked].map((one) => one.name).filter(Boolean));
  const operated = "a[href], button, input, select, textarea, summary, [tabindex], [role=slider]";
  return Array.from(document.querySelectorAll(operated))
    .filter((one) => one.tabIndex >= 0 && !one.disabled && one.checkVisibility({ visibilityProperty: true }))
    .filter((one) => !walked.has(one) && !(one.type === "radio" && names.has(one.name)))
    .map(CALLED);
}""".replace("CALLED", _CALLED)


def walk(page: Any, most: int = 400) -> tuple[list[dict[str, Any]], list[str]]:
    """All that Tab reaches from the beginning of the page on, in its order; and what it did not reach."""
    page.evaluate("window.walked = []; document.activeElement.blur(); getSelection().removeAllRanges(); scrollTo(0, 0)")
    found: list[dict[str, Any]] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        at = page.evaluate(_AT)
        if at is None or at.get("again"):
            return found, page.evaluate(_MISSED)
        found.append(at)
    raise AssertionError(f"Tab goes on and on: {[one['name'] for one in found[-5:]]}")


#: Roles of what has to have a name.
_NAMED = {
    "button", "link", "textbox", "checkbox", "radio", "slider", "switch", "combobox", "searchbox", "tab", "radiogroup",
    "navigation", "dialog", "region", "listbox",
}  # fmt: skip


def nameless(page: Any) -> tuple[int, list[str]]:
    """How many parts of the accessibility tree have to have a name, and those that have none."""
    session = page.context.new_cdp_session(page.page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    count, found = 0, []
    for node in nodes:
        role = node.get("role", {}).get("value", "")
        if node.get("ignored") or role not in _NAMED:
            continue
        count += 1
        if not node.get("name", {}).get("value", "").strip():
            found.append(f"{role} {node.get('backendDOMNodeId')}")
    # Drawings without a role are the signs of what has the name itself.
    images = page.evaluate(
        "Array.from(document.querySelectorAll('img, [role=img]')).map(e => e.alt || e.getAttribute('aria-label') || '')"
    )
    return count + len(images), found + ["image" for name in images if not name.strip()]


#: Text of graphs: its colour, and where it is on the page.
_TEXTS = r"""() => Array.from(document.querySelectorAll(".js-plotly-plot svg text"))
  .flatMap((one) => one.children.length ? [one, ...one.querySelectorAll("tspan")] : [one])
  .filter((one) => Array.from(one.childNodes).some((part) => part.nodeType === 3 && part.textContent.trim()))
  .filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.closest(".hoverlayer, .modebar"))
  .map((one) => {
    let alpha = 1;
    for (let up = one; up && up.tagName !== "DIV"; up = up.parentElement) alpha *= Number(getComputedStyle(up).opacity);
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    return { text: one.textContent, fill: style.fill, alpha: alpha * Number(style.fillOpacity),
             x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height };
  }).filter((one) => one.width > 1 && one.height > 1 && one.alpha > 0)"""


def faint_in_graphs(page: Any) -> tuple[int, dict[str, float]]:
    """How many texts graphs have, and those with less contrast to the pixels around them than AA has: 4.5; signs, 3."""
    image = pytest.importorskip("PIL.Image")
    # As high as the page: header and footer lie over nothing then.
    size = page.viewport_size
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": height + 10})
    page.wait_for_timeout(900)
    texts = page.evaluate(_TEXTS)
    shot = np.asarray(image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)
    page.set_viewport_size(size)
    faint = {}
    for one in texts:
        x, y = int(one["x"]), int(one["y"])
        part = shot[max(y, 0) : y + int(one["height"]) + 1, max(x, 0) : x + int(one["width"]) + 1].reshape(-1, 3)
        if not len(part):
            continue
        # What is behind the text is what there is most of within its box.
        colors, counts = np.unique(part, axis=0, return_counts=True)
        ground = colors[counts.argmax()]
        ink = np.array(
            [float(part) for part in one["fill"].removeprefix("rgba(").removeprefix("rgb(").rstrip(")").split(",")][:3]
        )
        found = contrast(one["alpha"] * ink + (1 - one["alpha"]) * ground, ground)
        if found < (4.5 if any(map(str.isalnum, one["text"])) else 3.0):
            faint[one["text"]] = round(found, 2)
    return len(texts), faint


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Of two colours of bytes (WCAG 2.2)."""
    light = []
    for color in (one, other):
        part = np.asarray(color, dtype=float) / 255
        light.append(
            np.where(part <= 0.03928, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )
    return float((max(light) + 0.05) / (min(light) + 0.05))
