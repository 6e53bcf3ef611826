// Confusion matrices, side by side.
"use strict";

(() => {
  const { data, element, shown, short, view, here, remember, address } = affect;

  const MOST = 3; // matrices that are shown at first

  function matrix(labels, counts, run, name, rates) {
    const totals = counts.map((row) => row.reduce((sum, n) => sum + n, 0));
    const answers = [...labels, "unreadable"];
    const seen = counts.some((row) => row[labels.length]) ? answers : labels;
    const head = element("tr", {}, element("th", { scope: "col" }, "gold \\ answer"), seen.map((label) => element("th", { scope: "col" }, shown(label))), element("th", { scope: "col" }, "n"));
    const lines = counts.map((row, i) => {
      const cells = seen.map((label, j) => {
        const share = totals[i] ? row[j] / totals[i] : 0;
        const cell = element(
          "td",
          { class: `number${share > 0.5 ? " strong" : ""}${i === j ? " right" : ""}`, title: `${shown(labels[i])} answered as ${shown(label)}: ${row[j]} of ${totals[i]}` },
          rates ? (totals[i] ? `${(100 * share).toFixed(0)}%` : "-") : row[j],
        );
        cell.style.setProperty("--share", share.toFixed(3));
        return cell;
      });
      return element("tr", {}, element("th", { scope: "row" }, shown(labels[i])), cells, element("td", { class: "number" }, totals[i]));
    });
    return element(
      "div",
      { class: "matrix" },
      element("h3", {}, element("a", { href: address("run", [run.number]) }, `run ${run.number}`), ` ${short(name)}`),
      element("div", { class: "scroller", role: "region", tabindex: "0", "aria-label": `Confusion matrix of run ${run.number}` },
        element("table", {}, element("caption", { class: "unseen" }, `Confusion matrix of run ${run.number}`), element("thead", {}, head), element("tbody", {}, lines))),
    );
  }

  async function show(root, words, options) {
    const [all, tasks] = await Promise.all([data("overview"), data("confusion")]);
    const names = Object.keys(tasks);
    if (!names.length) {
      root.append(element("p", {}, "No run has results of a classification: there is no confusion matrix."));
      return;
    }
    const task = names.includes(options.task) ? options.task : names[0];
    const { labels, runs } = tasks[task];
    const numbers = Object.keys(runs).map(Number);
    const table = all.tables.find((each) => each.task === task);
    // What tells a run apart: the settings of its row.
    const setting = (number) => {
      const row = table?.rows.find((each) => each.runs.includes(number));
      return row ? table.settings.map(({ key }) => row.setting[key]).filter(Boolean).join(", ") : "";
    };
    let chosen = (options.runs ?? "").split(",").map(Number).filter((number) => numbers.includes(number));
    if (!chosen.length) chosen = numbers.slice(0, MOST);
    const rates = options.show !== "counts";
    const change = (more) => {
      remember({ ...here().options, ...more });
      affect.show();
    };
    const byNumber = new Map(all.runs.map((run) => [run.number, run]));
    const nameOf = (number) => `${setting(number) || byNumber.get(number).model}, seed ${byNumber.get(number).seed}`;
    const picker = element("select", { multiple: true, size: Math.min(6, numbers.length) }, numbers.map((number) => {
      return element("option", { value: number, selected: chosen.includes(number) }, short(`${number} ${nameOf(number)}`));
    }));
    picker.addEventListener("change", () => change({ runs: [...picker.selectedOptions].map((option) => option.value).join(",") }));
    const tasksBox = element("select", {}, names.map((name) => element("option", { value: name, selected: name === task }, shown(name))));
    tasksBox.addEventListener("change", () => change({ task: tasksBox.value, runs: "" }));
    const share = element("input", { type: "checkbox", checked: rates });
    share.addEventListener("change", () => change({ show: share.checked ? "rates" : "counts" }));
    root.append(
      element("h2", {}, "Confusion matrices"),
      element("div", { class: "tools" }, names.length > 1 ? element("label", {}, "Task ", tasksBox) : "", element("label", {}, "Runs ", picker), element("label", {}, share, " shares of a gold label")),
      element("p", { class: "about" }, "A row is a gold label, a column an answer of the lenient reader; a cell is darker the greater its share of the row. Several runs: hold Ctrl."),
      element("div", { class: "matrices" }, chosen.map((number) => matrix(labels[runs[number][0]], runs[number][1], byNumber.get(number), nameOf(number), rates))),
    );
  }

  view("confusion", { title: "Confusion", show });
})();
