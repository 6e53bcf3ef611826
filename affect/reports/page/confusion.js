// Confusion matrices, side by side: of runs, and of settings, whose counts are summed over their seeds.
"use strict";

(() => {
  const { data, element, shown, short, view, here, remember, address } = affect;

  const MOST = 3; // matrices that are shown at first

  function matrix(which, rates) {
    const { labels, counts } = which;
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
      element("h3", {}, which.runs.length > 1 ? element("span", {}, which.title) : element("a", { href: address("run", which.runs.map(String)) }, which.title), `: ${short(which.name)}`),
      element("div", { class: "scroller", role: "region", tabindex: "0", "aria-label": `Confusion matrix of ${which.title}` },
        element("table", {}, element("caption", { class: "unseen" }, `Confusion matrix of ${which.title}`), element("thead", {}, head), element("tbody", {}, lines))),
    );
  }

  // What can be shown of a task, by the key that stands in the address: first the settings with several seeds.
  function choices({ labels, runs }, table, all) {
    const byNumber = new Map(all.runs.map((run) => [run.number, run]));
    const rows = table?.each ? [] : table?.rows ?? [];
    const setting = (row) => table.settings.map(({ key }) => row.setting[key]).filter(Boolean).join(", ");
    const result = new Map();
    for (const row of rows) {
      const found = row.runs.map((number) => runs[number]);
      if (found.length < 2 || found.some((each) => !each || each[0] !== found[0][0])) continue;
      const counts = found[0][1].map((line, i) => line.map((_, j) => found.reduce((sum, each) => sum + each[1][i][j], 0)));
      const name = `${setting(row) || byNumber.get(row.runs[0]).model}, ${row.runs.length} seeds`;
      result.set(row.runs.join("."), { runs: row.runs, title: `runs ${row.runs.join(", ")} summed`, name, labels: labels[found[0][0]], counts });
    }
    for (const number of Object.keys(runs).map(Number)) {
      // What tells a run apart: the settings of its row.
      const row = (table?.rows ?? []).find((each) => each.runs.includes(number));
      const run = byNumber.get(number);
      const name = `${(row && setting(row)) || run.model}, seed ${run.seed}`;
      result.set(String(number), { runs: [number], title: `run ${number}`, name, labels: labels[runs[number][0]], counts: runs[number][1] });
    }
    return result;
  }

  async function show(root, words, options) {
    const [all, tasks] = await Promise.all([data("overview"), data("confusion")]);
    const names = Object.keys(tasks);
    if (!names.length) {
      root.append(element("p", {}, "No run has results of a classification: there is no confusion matrix."));
      return;
    }
    const task = names.includes(options.task) ? options.task : names[0];
    const table = all.tables.find((each) => each.task === task);
    const known = choices(tasks[task], table, all);
    let chosen = [...new Set((options.runs ?? "").split(","))].filter((key) => known.has(key));
    if (!chosen.length) chosen = [...known.keys()].slice(0, MOST);
    const rates = options.show !== "counts";
    const change = (more) => {
      remember({ ...here().options, ...more });
      affect.show();
    };
    const picker = element("select", { multiple: true, size: Math.min(6, known.size) }, [...known].map(([key, { runs, name }]) => {
      return element("option", { value: key, selected: chosen.includes(key) }, short(`${runs.join(", ")} ${name}`));
    }));
    picker.addEventListener("change", () => change({ runs: [...picker.selectedOptions].map((option) => option.value).join(",") }));
    const tasksBox = element("select", {}, names.map((name) => element("option", { value: name, selected: name === task }, shown(name))));
    tasksBox.addEventListener("change", () => change({ task: tasksBox.value, runs: "" }));
    const share = element("input", { type: "checkbox", checked: rates });
    share.addEventListener("change", () => change({ show: share.checked ? "rates" : "counts" }));
    root.append(
      element("h2", {}, "Confusion matrices"),
      element("div", { class: "tools" }, names.length > 1 ? element("label", {}, "Task ", tasksBox) : "", element("label", {}, "Runs ", picker), element("label", {}, share, " shares of a gold label")),
      element("p", { class: "about" }, "A row is a gold label, a column an answer of the lenient reader; a cell is darker the greater its share of the row. Of a setting with several seeds, the counts are summed over them. To choose several: hold Ctrl."),
      element("div", { class: "matrices" }, chosen.map((key) => matrix(known.get(key), rates))),
    );
  }

  view("confusion", { title: "Confusion", show });
})();
