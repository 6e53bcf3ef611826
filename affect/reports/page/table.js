// A table that is sorted, filtered and shown in part, with the same for the keyboard and for screen readers.
"use strict";

(() => {
  const { element, shown, broken, brief, announce } = affect;

  const FIRST = 300; // rows that are shown before "show more"
  const collator = new Intl.Collator(undefined, { numeric: true });

  // What a filter of a column asks: `>0.6`, `<= 3`, or words that all have to stand in the cell.
  function condition(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return null;
    const bound = /^([<>]=?)\s*(-?[0-9.]+)$/.exec(wanted);
    if (bound) {
      const limit = Number(bound[2]);
      const holds = { "<": (v) => v < limit, "<=": (v) => v <= limit, ">": (v) => v > limit, ">=": (v) => v >= limit };
      return (value) => typeof value === "number" && holds[bound[1]](value);
    }
    const words = wanted.split(/\s+/);
    return (value, text) => words.every((word) => text.toLowerCase().includes(word));
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return collator.compare(String(a), String(b));
  }

  // Rows in the order of a column, those without a value last in both directions.
  function sorted(rows, column, down) {
    const valued = rows.map((row, place) => [column.value(row), place, row]);
    const empty = (value) => value === null || value === undefined || value === "";
    valued.sort(([a, i], [b, j]) => {
      if (empty(a) || empty(b)) return empty(a) - empty(b) || i - j;
      return (down ? compare(b, a) : compare(a, b)) || i - j;
    });
    return valued.map(([, , row]) => row);
  }

  // table({label, columns, rows, state, changed, details}): an element.
  //
  // columns   {key, heading, kind: "word" | "number", value(row), cell(row) -> text or node, hover(row), optional}; value is
  //           what is sorted and filtered by, and what is shown unless there is a cell
  // state     {sort, down, filters: {KEY: TEXT}, columns: [KEY …]}, which `changed` is called with when a person changes it
  // details   of a row, what opens below it
  function table({ label, columns, rows, state = {}, changed = () => {}, details = null, filters = true, mark = () => "" }) {
    state.filters ??= {};
    state.columns ??= columns.filter((column) => !column.optional).map((column) => column.key);
    const root = element("div", { class: "table" });
    const head = element("thead");
    const body = element("tbody");
    const count = element("span", { class: "count" });
    const more = element("button", { type: "button", class: "more", hidden: true }, "Show all rows");
    const scroller = element(
      "div",
      { class: "scroller", role: "region", "aria-label": label, tabindex: "0" },
      element("table", {}, element("caption", { class: "unseen" }, label), head, body),
    );
    let most = FIRST;
    const lines = new Map(); // by row, its line, as long as the columns are the same
    const opened = new Map(); // by row, the line with its details

    const visible = () => columns.filter((column) => state.columns.includes(column.key));

    function headings() {
      lines.clear();
      opened.clear();
      const cells = visible().map((column) => {
        const button = element(
          "button",
          { type: "button", "data-key": column.key, title: column.title ?? "Sort by this column" },
          broken(column.heading),
          element("span", { class: "arrow", "aria-hidden": "true" }),
        );
        return element("th", { scope: "col", class: column.kind }, button);
      });
      const inputs = visible().map((column) => {
        const input = element("input", {
          type: "search",
          "data-key": column.key,
          "aria-label": `Filter ${shown(column.heading)}`,
          placeholder: column.kind === "number" ? "> 0.5" : "filter",
          autocomplete: "off",
        });
        input.value = state.filters[column.key] ?? "";
        return element("td", { class: column.kind }, input);
      });
      const room = details ? [element("td", { class: "opener" }, element("span", { class: "unseen" }, "Details"))] : [];
      head.replaceChildren(
        element("tr", {}, room, cells),
        ...(filters && rows.length > 3 ? [element("tr", { class: "filters" }, room.map((cell) => cell.cloneNode()), inputs)] : []),
      );
      arrows();
    }

    function arrows() {
      for (const button of head.querySelectorAll("button[data-key]")) {
        const is = state.sort === button.dataset.key;
        button.querySelector(".arrow").textContent = is ? (state.down ? " ▼" : " ▲") : "";
        button.parentElement.setAttribute("aria-sort", is ? (state.down ? "descending" : "ascending") : "none");
      }
    }

    function text(column, row) {
      const value = column.value(row);
      return value === null || value === undefined ? "" : String(value);
    }

    function chosen() {
      const asked = Object.entries(state.filters)
        .map(([key, wanted]) => [columns.find((column) => column.key === key), condition(wanted)])
        .filter(([column, holds]) => column && holds);
      const left = rows.filter((row) => asked.every(([column, holds]) => holds(column.value(row), text(column, row))));
      const column = columns.find((each) => each.key === state.sort);
      return column ? sorted(left, column, state.down) : left;
    }

    function line(row) {
      const cells = visible().map((column) => {
        const content = column.cell ? column.cell(row) : brief(text(column, row));
        const attributes = { class: column.kind, title: column.hover ? column.hover(row) : null };
        return column.header ? element("th", { ...attributes, scope: "row" }, content) : element("td", attributes, content);
      });
      const made = element("tr", { class: mark(row) });
      if (details) {
        const button = element("button", { type: "button", class: "open", "aria-expanded": "false", "aria-label": "Details of this row" }, "+");
        button.addEventListener("click", () => toggle(row, made, button));
        made.append(element("td", { class: "opener" }, button));
      }
      made.append(...cells);
      return made;
    }

    function toggle(row, made, button) {
      const open = opened.has(row);
      button.setAttribute("aria-expanded", String(!open));
      button.textContent = open ? "+" : "−";
      if (open) {
        opened.get(row).remove();
        opened.delete(row);
      } else {
        opened.set(row, element("tr", { class: "details" }, element("td", { colspan: visible().length + 1 }, details(row))));
        made.after(opened.get(row));
      }
    }

    function shownLines(row) {
      if (!lines.has(row)) lines.set(row, line(row));
      return opened.has(row) ? [lines.get(row), opened.get(row)] : [lines.get(row)];
    }

    function fill() {
      const left = chosen();
      body.replaceChildren(...left.slice(0, most).flatMap(shownLines));
      more.hidden = left.length <= most;
      const some = left.length > most ? `, the first ${most.toLocaleString("en")} shown` : "";
      count.textContent =
        (left.length === rows.length
          ? `${rows.length.toLocaleString("en")} row${rows.length === 1 ? "" : "s"}`
          : `${left.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`) + some;
    }

    head.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-key]");
      if (!button) return;
      const key = button.dataset.key;
      const column = columns.find((each) => each.key === key);
      if (state.sort !== key) [state.sort, state.down] = [key, column.down ?? column.kind === "number"];
      else state.down = !state.down;
      arrows();
      fill();
      announce(`Sorted by ${shown(column.heading)}, ${state.down ? "descending" : "ascending"}`);
      changed(state);
    });
    head.addEventListener("input", (event) => {
      const key = event.target.dataset.key;
      if (!key) return;
      if (event.target.value.trim()) state.filters[key] = event.target.value;
      else delete state.filters[key];
      fill();
      announce(count.textContent);
      changed(state);
    });
    more.addEventListener("click", () => {
      most = Infinity;
      fill();
    });

    const chooser = element("details", { class: "chooser" }, element("summary", {}, "Columns"));
    if (columns.some((column) => column.optional)) {
      const boxes = columns.map((column) => {
        const box = element("input", { type: "checkbox", checked: state.columns.includes(column.key) });
        box.addEventListener("change", () => {
          const keys = box.checked ? [...state.columns, column.key] : state.columns.filter((key) => key !== column.key);
          state.columns = columns.map((each) => each.key).filter((key) => keys.includes(key));
          if (!box.checked) delete state.filters[column.key]; // a filter that nobody sees would hide rows
          headings();
          fill();
          changed(state);
        });
        return element("label", {}, box, " ", shown(column.heading));
      });
      chooser.append(element("div", { class: "boxes", role: "group", "aria-label": "Columns that are shown" }, boxes));
      root.append(element("div", { class: "tools" }, chooser, count, more));
    } else {
      root.append(element("div", { class: "tools" }, count, more));
    }
    root.append(scroller);
    headings();
    fill();
    return root;
  }

  affect.table = table;
})();
