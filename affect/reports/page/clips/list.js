// A list of any length of which only the rows in sight are elements.
"use strict";

const clipList = (() => {
  const { element } = affect;
  const HEIGHT = 50; // pixels a row, as in clips.css
  const BEYOND = 6; // rows above and below those in sight

  // `row(item)` gives the children of a row, `choose(item)` is told of the row that is chosen.
  function list(label, row, choose) {
    const inside = element("div", { class: "rows", role: "presentation" });
    const box = element("div", { class: "list", role: "listbox", tabindex: "0", "aria-label": label }, inside);
    let items = [];
    let current = -1;
    let asked = false;

    function draw() {
      asked = false;
      const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - BEYOND);
      const last = Math.min(items.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + BEYOND);
      const rows = [];
      for (let at = first; at < last; at++) {
        const chosen = at === current;
        const made = element("div", { class: "row", role: "option", id: `clip-row-${at}`, "aria-selected": String(chosen), "aria-setsize": items.length, "aria-posinset": at + 1, "data-at": at }, row(items[at]));
        made.style.top = `${at * HEIGHT}px`;
        rows.push(made);
      }
      inside.replaceChildren(...rows);
      if (current >= first && current < last) box.setAttribute("aria-activedescendant", `clip-row-${current}`);
      else box.removeAttribute("aria-activedescendant");
    }

    function later() {
      if (!asked) requestAnimationFrame(draw);
      asked = true;
    }

    function fill(some, item) {
      items = some;
      inside.style.height = `${items.length * HEIGHT}px`;
      current = items.indexOf(item);
      if (current >= 0) reveal();
      else box.scrollTop = 0;
      draw();
    }

    function reveal() {
      const top = current * HEIGHT;
      if (top < box.scrollTop) box.scrollTop = top;
      else if (top + HEIGHT > box.scrollTop + box.clientHeight) box.scrollTop = top + HEIGHT - box.clientHeight;
    }

    // Chooses the row at a place, or the nearest there is.
    function go(at) {
      if (!items.length) return;
      current = Math.max(0, Math.min(items.length - 1, at));
      reveal();
      draw();
      choose(items[current]);
    }

    box.addEventListener("scroll", later, { passive: true });
    box.addEventListener("click", (event) => {
      const at = event.target.closest("[data-at]")?.dataset.at;
      if (at !== undefined) go(Number(at));
    });
    box.addEventListener("keydown", (event) => {
      const page = Math.max(1, Math.floor(box.clientHeight / HEIGHT) - 1);
      const to = { ArrowDown: current + 1, ArrowUp: current - 1, PageDown: current + page, PageUp: current - page, Home: 0, End: items.length - 1 }[event.key];
      if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      go(to);
    });
    new ResizeObserver(later).observe(box);
    return { box, fill, draw, step: (by) => go(current + by), items: () => items };
  }

  return { list };
})();
