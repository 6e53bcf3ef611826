// The list of runs, and the page of each: configuration beside that of another run, environment, log, exclusions, ledger.
"use strict";

(() => {
  const { data, element, shown, short, broken, brief, view, address, here, remember } = affect;

  const when = (time) => (time ? String(time).replace("T", " ").replace("+00:00", " UTC") : "-");

  async function list(root) {
    const all = await data("overview");
    const tasks = all.tables.map((table) => table.task);
    const columns = [
      { key: "number", heading: "run", kind: "number", header: true, down: false, value: (run) => run.number, cell: (run) => element("a", { href: address("run", [run.number]) }, run.number) },
      { key: "model", heading: "model", kind: "word", value: (run) => run.model },
      { key: "tuning", heading: "tuning", kind: "word", value: (run) => run.tuning ?? "-" },
      { key: "seed", heading: "seed", kind: "number", value: (run) => run.seed },
      { key: "state", heading: "state", kind: "word", value: (run) => run.state, cell: (run) => element("span", { class: `state ${/^[a-z]+$/.test(run.state) ? run.state : ""}` }, shown(run.state)) },
      { key: "started", heading: "started", kind: "word", value: (run) => when(run.started) },
      ...tasks.map((task) => ({ key: task, heading: task, kind: "word", value: (run) => run.results[task] ?? "-" })),
      { key: "folder", heading: "folder", kind: "word", value: (run) => run.folder },
    ];
    root.append(element("h2", {}, "Runs"), affect.table({ label: "Runs", columns, rows: all.runs }));
  }

  // ------------------------------------------------------------------ a run

  function configurationOf(all, number) {
    const values = { ...all.first };
    for (const [key, value] of Object.entries(all.runs[number].differs)) {
      if (value === null) delete values[key];
      else values[key] = value;
    }
    return values;
  }

  function configuration(all, runs, number, options) {
    const ours = configurationOf(all, number);
    const other = runs.find((run) => run.number === Number(options.with) && run.number !== number);
    const theirs = other ? configurationOf(all, other.number) : null;
    const idle = new Set(all.runs[number].idle);
    const idleThere = new Set(other ? all.runs[other.number].idle : []);
    const neutral = new Set(all.neutral);
    const keys = [...new Set([...Object.keys(ours), ...Object.keys(theirs ?? {})])];
    const differs = (row) => theirs !== null && row.ours !== row.theirs;
    const effect = (key) => (neutral.has(key) ? "changes no number" : idle.has(key) ? "without effect here" : "");
    const rows = keys.map((key) => ({ key, ours: ours[key] ?? null, theirs: theirs ? theirs[key] ?? null : null, effect: effect(key) }));
    const only = options.only === "differences" && theirs !== null;
    const change = (more) => {
      remember({ ...here().options, ...more });
      affect.show();
    };
    const picker = element("select", {}, element("option", { value: "" }, "no run"), runs.filter((run) => run.number !== number).map((run) =>
      element("option", { value: run.number, selected: run.number === other?.number }, short(`${run.number} ${run.model}, seed ${run.seed}, ${run.folder.split("/").pop()}`))));
    picker.addEventListener("change", () => change({ with: picker.value }));
    const box = element("input", { type: "checkbox", checked: only, disabled: theirs === null });
    box.addEventListener("change", () => change({ only: box.checked ? "differences" : "" }));
    const value = (text) => (text === null ? element("em", {}, "absent") : brief(text));
    const columns = [
      { key: "key", heading: "key", kind: "word", header: true, value: (row) => row.key, cell: (row) => broken(row.key) },
      { key: "ours", heading: `run ${number}`, kind: "word", value: (row) => row.ours, cell: (row) => value(row.ours) },
      ...(theirs ? [{ key: "theirs", heading: `run ${other.number}`, kind: "word", value: (row) => row.theirs, cell: (row) => value(row.theirs) }] : []),
      ...(theirs ? [{ key: "differs", heading: "differs", kind: "word", value: (row) => (differs(row) ? "differs" : "") }] : []),
      { key: "effect", heading: "effect", kind: "word", value: (row) => row.effect },
    ];
    const count = rows.filter(differs).length;
    return element(
      "section",
      { class: "configuration" },
      element("h3", {}, "Configuration"),
      element("div", { class: "tools" }, element("label", {}, "Compare with ", picker), element("label", {}, box, " differences only")),
      theirs ? element("p", { class: "about" }, `${count} key${count === 1 ? " differs" : "s differ"}, ${rows.filter((row) => differs(row) && !neutral.has(row.key) && !(idle.has(row.key) && idleThere.has(row.key))).length} of which may change a number.`) : "",
      affect.table({
        label: `Configuration of run ${number}`,
        columns,
        rows: only ? rows.filter(differs) : rows,
        state: theirs ? { sort: "differs", down: true } : {},
        mark: (row) => (differs(row) ? "differs" : row.effect ? "quiet" : ""),
      }),
    );
  }

  function facts(pairs) {
    return element("dl", {}, pairs.filter(([, value]) => value !== undefined && value !== null && value !== "").map(([name, value]) => [element("dt", {}, shown(name)), element("dd", {}, value instanceof Node ? value : brief(value))]));
  }

  function flat(value, prefix = "") {
    return Object.entries(value).flatMap(([key, each]) => (each !== null && typeof each === "object" && !Array.isArray(each) ? flat(each, `${prefix}${key}.`) : [[prefix + key, String(each)]]));
  }

  function column(key, kind) {
    const made = { key, heading: key.replaceAll("_", " "), kind, value: (row) => row[key] ?? "" };
    // Of a hash the beginning tells it from others.
    if (key.endsWith("sha256")) Object.assign(made, { cell: (row) => short(row[key] ?? "", 13), hover: (row) => shown(row[key] ?? "") });
    return made;
  }

  function simple(label, rows, keys, more = {}) {
    return affect.table({ label, rows, columns: keys.map(([key, kind]) => column(key, kind)), ...more });
  }

  function ledger(lines, clips, run) {
    return Object.entries(clips).filter(([, hash]) => lines[hash]).map(([dataset, hash]) => {
      const own = (line) => line.folder === run.folder || line.folder.split("/").pop() === run.folder.split("/").pop();
      const rows = lines[hash].map((line, place) => ({ ...line, number: place + 1, time: when(line.time) }));
      const first = rows.find(own);
      return [
        element("p", {}, shown(`The test clips of ${dataset} were evaluated ${rows.length} times, as the ledgers have it${first ? `; ${first.number - 1} times before this run` : ", and not by this run"}.`)),
        simple(`Evaluations of the test clips of ${dataset}`, rows, [["number", "number"], ["time", "word"], ["program", "word"], ["clips", "number"], ["folder", "word"], ["configuration_sha256", "word"], ["predictions_sha256", "word"]], { mark: (row) => (own(row) ? "differs" : "") }),
      ];
    });
  }

  async function one(root, words, options) {
    const [all, configurations, ledgers] = await Promise.all([data("overview"), data("configurations"), data("ledger")]);
    const run = all.runs.find((each) => String(each.number) === words[0]);
    if (!run) {
      root.append(element("p", { class: "problem" }, shown(`There is no run ${words[0] ?? ""}: `), element("a", { href: "#runs" }, "choose one of the list")));
      return;
    }
    const about = await data(`run/${run.number}`);
    const neighbour = (number, text) => (all.runs.some((each) => each.number === number) ? element("a", { href: address("run", [number], options) }, text) : "");
    root.append(
      element("h2", {}, `Run ${run.number}: ${short(run.model)}`),
      element("p", { class: "neighbours" }, neighbour(run.number - 1, "‹ previous run"), " ", element("a", { href: "#runs" }, "all runs"), " ", neighbour(run.number + 1, "next run ›")),
      facts([["folder", run.folder], ["state", run.state], ["seed", String(run.seed)], ["tuning", run.tuning], ...Object.entries(run.results), ["started", when(about.status.started)], ["ended", about.status.ended && when(about.status.ended)], ["continued", about.resumed.map(when).join(", ")], ["error", about.status.error], ["where", about.status.where]]),
      ...about.problems.map((sentence) => element("p", { class: "problem" }, brief(sentence))),
      configuration(configurations, all.runs, run.number, options),
      element("section", {}, element("h3", {}, "Clips"), about.parts.length
        ? simple(`Clips of run ${run.number}`, about.parts.map((part) => ({ ...part, reasons: Object.entries(part.reasons ?? {}).map(([reason, n]) => `${n} ${reason}`).join("; ") })), [["dataset", "word"], ["split", "word"], ["expected", "number"], ["outside_subset", "number"], ["excluded", "number"], ["used", "number"], ["reasons", "word"], ["ids_sha256", "word"]])
        : element("p", {}, "The run has no data.json yet, which says what its numbers stand on.")),
      element("section", {}, element("h3", {}, "Exclusions"), about.exclusions.rows.length
        ? [simple(`Exclusions of run ${run.number}`, about.exclusions.rows, [["id", "word"], ["split", "word"], ["reason", "word"], ["source", "word"], ["count", "number"]]), about.exclusions.more ? element("p", {}, `${about.exclusions.more.toLocaleString("en")} more are in exclusions.csv of the run.`) : ""]
        : about.exclusions.known ? element("p", {}, "No clip was left out.") : element("p", {}, "It is not known which clips were left out.")),
      element("section", {}, element("h3", {}, "Ledger of the test set"), ledger(ledgers.evaluations, about.clips, run), Object.values(about.clips).some((hash) => ledgers.evaluations[hash]) ? "" : element("p", {}, "No ledger has an evaluation of these clips: it notes those of test splits.")),
      element("section", {}, element("h3", {}, "Environment"), facts(flat(about.environment))),
      element("section", {}, element("h3", {}, "End of the log"), about.log.before ? element("p", { class: "about" }, `${about.log.before.toLocaleString("en")} lines before these are in log/run.log of the run.`) : "",
        about.log.lines.length ? element("pre", { class: "log", tabindex: "0", role: "region", "aria-label": "End of the log" }, about.log.lines.map((line) => `${shown(line)}\n`)) : element("p", {}, "The log is empty.")),
    );
  }

  view("runs", { title: "Runs", show: list });
  view("run", { title: "Run", heading: false, show: one });
})();
