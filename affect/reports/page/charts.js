// Charts: any metric against any setting, training curves, and those that the report has made.
"use strict";

(() => {
  const { data, element, shown, short, brief, view, here, remember } = affect;

  function select(label, options, chosen, changed) {
    const made = element("select", {}, options.map(([value, text]) => element("option", { value, selected: value === chosen }, short(text))));
    made.addEventListener("change", () => changed(made.value));
    return element("label", {}, label, " ", made);
  }

  const collator = new Intl.Collator(undefined, { numeric: true });
  const isNumber = (text) => text !== null && text !== undefined && text.trim() !== "" && Number.isFinite(Number(text));

  // The means of `metric` over the values of the setting `x`, a series for each value of the setting `colour`.
  function metricChart(table, metric, x, colour, level) {
    const valued = table.rows.filter((row) => row.setting[x] !== null && row.setting[x] !== undefined);
    const set = valued.filter((row) => row.setting[x] !== "null");
    const numeric = set.length > 0 && set.every((row) => isNumber(row.setting[x]));
    // A number that is not set has no place on an axis of numbers.
    const rows = numeric ? set : valued;
    const others = table.settings.filter(({ key }) => key !== x && key !== colour);
    const groups = new Map();
    for (const row of rows) {
      const name = colour === "" ? table.task : row.setting[colour] ?? "-";
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(row);
    }
    const heading = (key) => table.settings.find((setting) => setting.key === key).heading;
    const series = [...groups].map(([name, members]) => {
      const sorted = members.toSorted((a, b) => (numeric ? Number(a.setting[x]) - Number(b.setting[x]) : collator.compare(a.setting[x], b.setting[x])));
      const ends = sorted.some((row) => row.numbers[metric].low !== null);
      return {
        name,
        x: sorted.map((row) => (numeric ? Number(row.setting[x]) : row.setting[x])),
        y: sorted.map((row) => row.numbers[metric].mean),
        low: ends ? sorted.map((row) => row.numbers[metric].low) : [],
        high: ends ? sorted.map((row) => row.numbers[metric].high) : [],
      };
    });
    const several = series.some((each) => new Set(each.x).size < each.x.length);
    const chart = {
      title: `${metric} of ${table.task} by ${heading(x)}`,
      x_label: heading(x),
      y_label: metric,
      kind: numeric || several ? "line" : "bar",
      points: several || !numeric,
      categories: numeric ? null : [...new Set(rows.map((row) => row.setting[x]))].toSorted(collator.compare),
      series,
    };
    const about = [
      "Every point is the mean over the seeds of a setting; bars are intervals of that mean over seeds.",
      several && others.length ? ` Several points at one place differ in ${others.map(({ heading }) => heading).join(", ")}.` : "",
      table.rows.length > rows.length ? ` Left out for having no value of ${heading(x)}: runs ${table.rows.filter((row) => !rows.includes(row)).map((row) => row.runs.join(", ")).join("; ")}.` : "",
    ].join("");
    return { chart, about };
  }

  function explorer(all, options) {
    const place = Math.max(0, all.tables.findIndex((table) => table.task === options.task));
    const table = all.tables[place];
    const settings = table.settings.map(({ key, heading }) => [key, heading]);
    const keys = settings.map(([key]) => key);
    const metric = table.metrics.concat().includes(options.y) ? options.y : table.metrics[0];
    const x = keys.includes(options.x) ? options.x : keys[0];
    const colour = keys.includes(options.colour) ? options.colour : "";
    const change = (key) => (value) => {
      remember({ ...here().options, [key]: value });
      affect.show();
    };
    const { chart, about } = metricChart(table, metric, x, colour, all.level);
    return element(
      "section",
      {},
      element("h2", {}, "A metric against a setting"),
      element(
        "div",
        { class: "tools" },
        all.tables.length > 1 ? select("Task", all.tables.map(({ task }) => [task, task]), table.task, change("task")) : "",
        select("Metric", table.metrics.map((name) => [name, name]), metric, change("y")),
        select("Setting", settings, x, change("x")),
        keys.length > 1 ? select("Colour", [["", "none"], ...settings.filter(([key]) => key !== x)], colour, change("colour")) : "",
      ),
      affect.figure(chart),
      element("p", { class: "about" }, shown(about)),
    );
  }

  const MOST_CURVES = 8; // runs whose curves are drawn at first

  function curves(all, options) {
    const finished = all.runs.filter((run) => run.tuning !== "zero-shot");
    if (!finished.length) return "";
    const root = element("section", { class: "curves" }, element("h2", {}, "Training curves"));
    const box = element("div");
    const status = element("p", { class: "about" });
    const chosen = new Set((options.curves ?? "").split(",").filter(Boolean).map(Number));
    if (!chosen.size) finished.slice(0, MOST_CURVES).forEach((run) => chosen.add(run.number));
    const picker = element("select", { multiple: true, size: Math.min(6, finished.length), "aria-label": "Runs whose curves are drawn" },
      finished.map((run) => element("option", { value: run.number, selected: chosen.has(run.number) }, short(`${run.number} ${run.model}, seed ${run.seed}`))));
    let name = options.curve ?? null;
    const names = element("span");

    async function draw() {
      const numbers = [...picker.selectedOptions].map((option) => Number(option.value));
      const found = await Promise.all(numbers.map((number) => data(`run/${number}`)));
      const all = [...new Set(found.flatMap((run) => Object.keys(run.curves)))];
      if (!all.length) {
        names.replaceChildren();
        box.replaceChildren();
        status.textContent = "None of these runs has logged anything in training.";
        return;
      }
      if (!all.includes(name)) name = all.find((each) => each.startsWith("val/")) ?? all[0];
      names.replaceChildren(select("Curve", all.map((each) => [each, each]), name, (value) => { name = value; remember({ ...here().options, curve: value }); draw(); }));
      const series = numbers.flatMap((number, i) => {
        const curve = found[i].curves[name];
        return curve ? [{ name: `run ${number}`, x: curve.steps, y: curve.values, low: [], high: [], points: curve.points }] : [];
      });
      const thinned = series.filter((each) => each.points > each.x.length);
      status.textContent = thinned.length ? `Of long curves every so many points are drawn: ${thinned.map((each) => `${each.x.length} of ${each.points.toLocaleString("en")} of ${each.name}`).join(", ")}.` : "";
      box.replaceChildren(affect.figure({ title: `${name} during training`, x_label: "optimiser step", y_label: name, kind: "line", series }));
    }

    picker.addEventListener("change", () => {
      remember({ ...here().options, curves: [...picker.selectedOptions].map((option) => option.value).join(",") });
      draw();
    });
    root.append(element("div", { class: "tools" }, element("label", {}, "Runs ", picker), names), box, status);
    draw().catch((error) => box.replaceChildren(element("p", { class: "problem" }, shown(error.message))));
    return root;
  }

  // A few sentences are shown; many open.
  function notes(sentences) {
    if (sentences.length < 4) return sentences.map((sentence) => element("p", { class: "about" }, brief(sentence)));
    const list = element("ul", {}, sentences.map((sentence) => element("li", {}, brief(sentence))));
    return element("details", { class: "about" }, element("summary", {}, `${sentences.length} notes`), list);
  }

  async function show(root, words, options) {
    const all = await data("overview");
    if (all.tables.some((table) => table.metrics.length)) root.append(explorer(all, options));
    else root.append(element("p", {}, "No run has results of a task yet."));
    const made = await data("charts");
    for (const { heading, charts, about } of made) {
      root.append(element("section", {}, element("h2", {}, shown(heading)), notes(about), charts.map(affect.figure)));
    }
    root.append(curves(all, options));
  }

  view("charts", { title: "Charts", show });
})();
