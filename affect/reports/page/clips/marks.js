// Marks and notes on clips, kept in the browser where it allows that, and given out as CSV.
"use strict";

const clipMarks = (() => {
  // Browsers give all files of a disk one storage: each page has its own entry.
  const KEY = `affect.marks:${location.pathname}`;

  // Marks and notes by clip id. `kept` says whether they outlive the page.
  function open() {
    const marks = new Map();
    const own = { kept: true, of, set, ids: () => [...marks.keys()] };
    try {
      for (const [id, marked, note] of JSON.parse(localStorage.getItem(KEY) ?? "[]")) {
        marks.set(String(id), { marked: marked === true, note: String(note) });
      }
    } catch {
      own.kept = false; // not allowed here, or not written by this page
    }

    function of(id) {
      return marks.get(id) ?? { marked: false, note: "" };
    }

    function set(id, change) {
      const mark = { ...of(id), ...change };
      if (mark.marked || mark.note) marks.set(id, mark);
      else marks.delete(id);
      try {
        localStorage.setItem(KEY, JSON.stringify([...marks].map(([each, { marked, note }]) => [each, marked, note])));
      } catch {
        own.kept = false; // not allowed here, or full
      }
    }

    return own;
  }

  // Saves rows as a file of the browser's downloads.
  function download(rows, name) {
    const link = document.createElement("a");
    // With a byte order mark, spreadsheets take it for UTF-8.
    link.href = URL.createObjectURL(new Blob(["\ufeff", clipData.table(rows)], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  return { open, download };
})();
