// The overview: for each task a table of settings, and what is behind every number of it.
"use strict";

(() => {
  const { data, element, shown, brief, view, address, here, remember } = affect;

  const four = (value) => (value === null || value === undefined ? "undefined" : value.toFixed(4));
  const signed = (value) => (value > 0 ? "+" : "") + four(value);
  const span = ([low, high]) => (low === high ? low.toLocaleString("en") : `${low.toLocaleString("en")}-${high.toLocaleString("en")}`);
  const percent = (value) => `${(100 * value).toFixed(1)}%`;

  function links(numbers) {
    return numbers.flatMap((number, place) => [place ? ", " : "", element("a", { href: address("run", [number]) }, number)]);
  }

  function interval(number, level) {
    return number.low === null ? "" : `${percent(level).replace(".0", "")} interval over seeds [${four(number.low)}, ${four(number.high)}]`;
  }

  // What a number stands on, in lines.
  function behind(table, row, name, level) {
    const number = row.numbers[name];
    return [
      `${name} ${four(number.mean)}${number.sd === null ? "" : ` ± ${number.sd.toFixed(4)}`}`,
      interval(number, level),
      `clips: ${span(row.counts.expected)} expected, ${span(row.counts.used)} used, ${span(row.counts.scored)} scored`,
      ...(row.signatures[name] ?? ["no signature: made by a version of affect that wrote none"]),
    ].filter(Boolean);
  }

  function difference(row) {
    const found = row.difference;
    if (!found) return row.is_reference ? "reference" : "-";
    if (found.mean === null) return "undefined";
    return signed(found.mean) + (found.better === "yes" ? " *" : found.better === "uncertain" ? " (*)" : "");
  }

  function columns(table, level) {
    const metric = (name) => ({
      key: name,
      heading: name,
      kind: "number",
      optional: !table.shown.includes(name),
      down: !table.lower_is_better.includes(name),
      value: (row) => row.numbers[name].mean,
      hover: (row) => behind(table, row, name, level).map((line) => shown(line.slice(0, 500))).join("\n"),
      cell: (row) => {
        const number = row.numbers[name];
        const mean = element(row.best.includes(name) ? "strong" : "span", {}, four(number.mean));
        const spread = number.low === null ? "" : `[${four(number.low)}, ${four(number.high)}]`;
        return [mean, number.sd === null ? "" : element("span", { class: "sd" }, ` ± ${number.sd.toFixed(4)}`), spread ? element("span", { class: "interval" }, spread) : ""];
      },
    });
    const count = (name, optional) => ({
      key: `clips ${name}`,
      heading: name,
      kind: "number",
      optional,
      value: (row) => row.counts[name][1],
      cell: (row) => [span(row.counts[name]), name === "used" && row.mark ? element("sup", {}, row.mark) : ""],
    });
    const compared = table.compared === null ? [] : [
      { key: "difference", heading: `difference of ${table.compared}`, kind: "number", value: (row) => row.difference?.mean ?? null, cell: difference },
      {
        key: "difference interval",
        heading: `its ${percent(level).replace(".0", "")} interval`,
        kind: "number",
        value: (row) => row.difference?.low ?? null,
        cell: (row) => (row.difference?.low == null ? "-" : `[${signed(row.difference.low)}, ${signed(row.difference.high)}]`),
      },
      {
        key: "p",
        heading: "p (Holm)",
        kind: "number",
        down: false,
        value: (row) => row.difference?.holm ?? null,
        cell: (row) => (row.difference?.holm == null ? "-" : row.difference.holm < 0.0001 ? "<0.0001" : four(row.difference.holm)),
      },
    ];
    return [
      ...table.settings.map(({ key, heading }, place) => ({
        key,
        heading,
        kind: "word",
        header: place === 0,
        value: (row) => row.setting[key] ?? "-",
      })),
      { key: "seeds", heading: table.each ? "seed" : "seeds", kind: "number", value: (row) => (table.each ? row.seeds[0] : row.seeds.length) },
      ...table.metrics.map(metric),
      ...compared,
      count("expected", true),
      count("used", false),
      count("scored", false),
      { key: "readable", heading: "readable", kind: "number", optional: true, value: (row) => row.readable, cell: (row) => percent(row.readable) },
      ...(table.rows.some((row) => row.opened !== null)
        ? [{ key: "opened", heading: "opened before", kind: "number", optional: true, value: (row) => row.opened, cell: (row) => row.opened ?? "-", title: "How often these test clips had been evaluated before" }]
        : []),
      { key: "runs", heading: "runs", kind: "word", value: (row) => row.runs.join(", "), cell: (row) => (row.runs.length < 6 ? element("span", { class: "oneline" }, links(row.runs)) : links(row.runs)) },
    ];
  }

  function details(table, row, names, level) {
    const about = [
      ["seeds", row.seeds.join(", ")],
      ["runs", links(row.runs)],
      ["clips", `${span(row.counts.expected)} expected, ${span(row.counts.used)} used, ${span(row.counts.scored)} scored; ${percent(row.readable)} of the answers readable`],
      ...(row.opened === null ? [] : [["opened before", `${row.opened} times`]]),
      ...(row.mark ? [["note", table.footnotes[row.mark]]] : []),
    ];
    const found = row.difference;
    if (found) {
      about.push(["difference", `${difference(row)} of ${table.compared}, over ${found.num_seeds} seed${found.num_seeds === 1 ? "" : "s"}, ${found.clips} clips of ${found.groups} groups; ${found.better || "no interval"}`]);
      about.push(["against runs", links(found.against)]);
    }
    return [
      element("dl", {}, about.map(([name, value]) => [element("dt", {}, name), element("dd", {}, typeof value === "string" ? brief(value) : value)])),
      element("ul", { class: "signatures" }, names.map((name) => element("li", {}, behind(table, row, name, level).slice(0, 2).join("; "), (row.signatures[name] ?? []).map((text) => element("code", {}, brief(text)))))),
    ];
  }

  // Of the address, what belongs to one table: `sort.TASK=KEY`, `down.TASK=1`, `columns.TASK=KEY,KEY`, `filter.TASK=[…]`.
  function stateOf(task, options) {
    const state = { sort: options[`sort.${task}`], down: options[`down.${task}`] === "1" };
    try {
      if (options[`columns.${task}`]) state.columns = JSON.parse(options[`columns.${task}`]);
      if (options[`filter.${task}`]) state.filters = JSON.parse(options[`filter.${task}`]);
    } catch {
      // An address that somebody has edited: the table is shown as it is at first.
    }
    if (!Array.isArray(state.columns)) delete state.columns;
    if (state.filters === null || typeof state.filters !== "object") delete state.filters;
    return state;
  }

  function keep(task, state, usual) {
    const options = here().options;
    const put = (name, value) => {
      if (value) options[`${name}.${task}`] = value;
      else delete options[`${name}.${task}`];
    };
    put("sort", state.sort);
    put("down", state.down ? "1" : "");
    put("columns", JSON.stringify(state.columns) === usual ? "" : JSON.stringify(state.columns));
    put("filter", Object.keys(state.filters).length ? JSON.stringify(state.filters) : "");
    remember(options);
  }

  function section(part) {
    const rows = part.runs.cells.map((runs, place) => ({ runs, cells: part.columns.map((column) => column.cells[place].trim()) }));
    const asNumber = (text) => (/^[-+<]?[0-9][0-9.,]*/.test(text) ? parseFloat(text.replace(/[<,]/g, "")) : text);
    const made = part.columns.map((column, place) => ({
      key: `${place}`,
      heading: column.heading,
      kind: column.kind === "word" ? "word" : "number",
      value: (row) => (column.kind === "word" ? row.cells[place] : asNumber(row.cells[place])),
      cell: (row) => shown(row.cells[place]),
    }));
    made.push({ key: "runs", heading: "runs", kind: "word", value: (row) => row.runs });
    return [
      element("h3", {}, shown(part.title)),
      affect.table({ label: shown(part.title), columns: made, rows }),
      ...Object.entries(part.footnotes).map(([mark, note]) => element("p", { class: "footnote" }, element("sup", {}, mark), " ", shown(note))),
    ];
  }

  function tableOf(table, level, options) {
    const made = columns(table, level);
    const usual = JSON.stringify(made.filter((column) => !column.optional).map((column) => column.key));
    const state = stateOf(table.task, options);
    const about = Object.entries(table.about).map(([key, value]) => `${key.replace(/^evaluation\./, "")} ${value}`).join("; ");
    return element(
      "section",
      { class: "task" },
      element("h2", {}, shown(table.task)),
      element("p", { class: "about" }, shown(about), table.each ? "" : "; mean ± standard deviation over seeds, [interval of the mean over seeds]"),
      affect.table({
        label: `Results of ${shown(table.task)}`,
        columns: made,
        rows: table.rows,
        state,
        changed: (now) => keep(table.task, now, usual),
        details: (row) => details(table, row, table.metrics.filter((name) => state.columns.includes(name)), level),
        mark: (row) => (row.is_reference ? "reference" : ""),
      }),
      element("p", { class: "footnote" }, `${table.rule}.`),
      table.untold.length ? element("details", { class: "footnote" }, element("summary", {}, "What bold does not tell"), element("ul", {}, table.untold.map((note) => element("li", {}, brief(note))))) : "",
      table.compared === null ? "" : element("p", { class: "footnote" }, "* better than the reference, p (Holm) at most 5 %; (*) likewise, but of a single trained seed"),
      Object.entries(table.footnotes).map(([mark, note]) => element("p", { class: "footnote" }, element("sup", {}, mark), " ", shown(note))),
      table.sections.map(section),
    );
  }

  async function show(root, words, options) {
    const all = await data("overview");
    root.append(...all.refused.map((sentence) => element("p", { class: "problem" }, brief(sentence))));
    const finished = all.runs.filter((run) => run.state === "finished").length;
    root.append(element("p", { class: "about" }, `${all.runs.length} run${all.runs.length === 1 ? "" : "s"}, ${finished} finished`));
    if (!all.tables.length) root.append(element("p", {}, "No run has results of a task yet."));
    root.append(...all.tables.map((table) => tableOf(table, all.level, options)));
    if (all.notes.length) {
      root.append(
        element("h2", {}, "Notes"),
        element("p", { class: "about" }, "Numbers at the beginning are those of runs."),
        element("ul", { class: "notes" }, all.notes.map((note) => element("li", {}, brief(note)))),
      );
    }
  }

  view("overview", { title: "Overview", show });
})();
