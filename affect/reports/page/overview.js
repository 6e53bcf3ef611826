// The overview: a table of settings for each task.
"use strict";

(() => {
  const { data, element, shown, view } = affect;

  async function show(root) {
    const all = await data("overview");
    for (const sentence of all.refused) root.append(element("p", { class: "problem" }, shown(sentence)));
    for (const table of all.tables) root.append(element("h2", {}, shown(table.task)));
    root.append(element("ol", { class: "runs" }, all.runs.map((run) => element("li", {}, shown(`${run.model}, ${run.folder}`)))));
    root.append(element("ul", { class: "notes" }, all.notes.map((note) => element("li", {}, shown(note)))));
  }

  view("overview", { title: "Overview", show });
})();
