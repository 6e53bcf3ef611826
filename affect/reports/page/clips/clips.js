// The clip browser: filters, the list, and the clip that is chosen.
"use strict";

(() => {
  const { data, element, shown, announce, remember, view } = affect;

  const START = { task: "", a: 0, b: 0, gold: "", answer: "", outcome: "", off: 0, agreement: "", apart: 1, low: 0, high: 100, slice: "", part: "", search: "", marked: false, sort: "as in the dataset", clip: "" };
  let all = null;
  let marks = null;
  let current = null; // the view that is shown, for keys

  document.addEventListener("affect:refresh", () => { all = null; });

  async function show(root, words, options) {
    all ??= clipData.unpacked(await data("clips"));
    marks ??= clipMarks.open();
    current = browser(root, all, marks, wishesOf(all, options));
  }

  // The wishes that an address states, as far as there is what they name.
  function wishesOf(all, options) {
    const wishes = { ...START };
    for (const [key, first] of Object.entries(START)) {
      if (!Object.hasOwn(options, key)) continue;
      if (typeof first === "number") wishes[key] = Number.isFinite(Number(options[key])) ? Number(options[key]) : first;
      else wishes[key] = typeof first === "boolean" ? options[key] === "true" : options[key];
    }
    const task = all.tasks.find((each) => each.name === wishes.task) ?? all.tasks.find((each) => each.ofRun.has(wishes.a)) ?? all.tasks[0];
    wishes.task = task.name;
    settle(wishes, task);
    return wishes;
  }

  function settle(wishes, task) {
    if (!task.ofRun.has(wishes.a)) wishes.a = task.runs[0].run;
    if (!task.ofRun.has(wishes.b)) wishes.b = 0;
    for (const [key, known] of [["outcome", clipData.OUTCOME], ["agreement", clipData.AGREEMENT], ["slice", clipData.SLICES]]) {
      if (!Object.hasOwn(known, wishes[key])) wishes[key] = "";
    }
    if (!Object.hasOwn(clipData.SORTS, wishes.sort)) wishes.sort = START.sort;
  }

  function browser(root, all, marks, wishes) {
    let task = all.tasks.find((each) => each.name === wishes.task);
    let clip = null;
    let playing = null;
    const count = element("p", { class: "count", role: "status" });
    const fields = element("form", { class: "choices", "aria-label": "Filters" });
    const title = element("h2", { id: "clip-title", tabindex: "-1" });
    const facts = element("p", { class: "facts" });
    const body = element("div", { class: "body" });
    const mark = element("button", { type: "button", class: "mark", "aria-pressed": "false", "aria-keyshortcuts": "m", onclick: () => setMark() }, "Mark");
    const note = element("textarea", { rows: 2, "aria-label": "Note on this clip", placeholder: "Note on this clip" });
    const list = clipList.list("Clips", row, choose);
    const marked = (each) => marks.of(all.id(each)).marked;
    const runA = () => task.ofRun.get(wishes.a);
    const runB = () => task.ofRun.get(wishes.b) ?? null;

    note.addEventListener("input", () => { marks.set(all.id(clip), { note: note.value }); });
    fields.addEventListener("submit", (event) => event.preventDefault());

    // ---------------------------------------------------------------- filters

    function select(key, label, options, after = refill) {
      const box = element("select", { name: key, onchange: () => { wishes[key] = typeof START[key] === "number" ? Number(box.value) : box.value; after(); } });
      for (const [value, text] of options) {
        box.append(element("option", { value, selected: String(wishes[key]) === String(value) }, shown(text)));
      }
      return element("label", { class: key === "a" || key === "b" ? "run" : null }, element("span", {}, label), box);
    }

    function number(key, label, least, most, step) {
      const box = element("input", { type: "number", name: key, value: wishes[key], min: least, max: most, step, oninput: () => { if (box.value !== "" && Number.isFinite(box.valueAsNumber)) { wishes[key] = box.valueAsNumber; refill(); } } });
      return element("label", { class: "short" }, element("span", {}, label), box);
    }

    const any = (options, word = "any") => [["", word], ...options.map((each) => [each, each])];

    // Fills the filters anew, since a task, run or slice decides which there are.
    function build() {
      const a = runA();
      const runs = task.runs.map((run) => [run.run, run.label]);
      const counted = (word) => {
        const counts = new Map();
        for (const each of a.order) counts.set(word(each), (counts.get(word(each)) ?? 0) + 1);
        return [["", "any"], ...[...counts].filter(([value]) => value !== null).map(([value, n]) => [value, `${value} (${n.toLocaleString("en")})`])];
      };
      const scored = a.names.length > 0 && task.coded;
      const parts = wishes.slice ? clipData.values(all, wishes.slice, a.order).map(([value, n]) => [value, `${value} (${n.toLocaleString("en")})`]) : [];
      const kept = fields.contains(document.activeElement) ? document.activeElement.name : null;
      const search = element("input", { type: "search", name: "search", value: wishes.search, placeholder: "id, speaker or words said", oninput: () => { wishes.search = search.value; refill(); } });
      const onlyMarked = element("input", { type: "checkbox", name: "marked", checked: wishes.marked, onchange: () => { wishes.marked = onlyMarked.checked; refill(); } });
      const coded = task.coded;
      const agreements = Object.keys(clipData.AGREEMENT).slice(0, coded ? undefined : 4);
      const named = { "only A right": coded ? "only A is right" : "A is nearer", "only B right": coded ? "only B is right" : "B is nearer", differ: "answers differ", same: "answers are the same" };
      fields.replaceChildren(
        element("label", { class: "search" }, element("span", {}, "Search"), search),
        all.tasks.length > 1 ? select("task", "Task", all.tasks.map((each) => [each.name, each.name]), changed) : "",
        select("a", "Run A", runs, changed),
        task.runs.length > 1 ? select("b", "Run B", [[0, "none"], ...runs.filter(([run]) => run !== wishes.a)], changed) : "",
        coded ? select("gold", "Label", counted(a.goldWord)) : number("off", "Off by at least", 0, 1000, 0.1),
        coded ? select("answer", "Answer of A", counted(a.answer)) : "",
        select("outcome", "Outcome of A", any(Object.keys(clipData.OUTCOME).slice(coded ? 0 : 2))),
        runB() ? select("agreement", "A and B", [["", "any"], ...agreements.map((each) => [each, named[each] ?? each])]) : "",
        runB() && !coded ? number("apart", "Differ: at least", 0, 1000, 0.1) : "",
        scored ? number("low", "Confidence", 0, 100, 1) : "",
        scored ? number("high", "to, %", 0, 100, 1) : "",
        select("slice", "Slice by", any(Object.keys(clipData.SLICES), "nothing"), () => { wishes.part = ""; changed(); }),
        wishes.slice ? select("part", wishes.slice, [["", "any"], ...parts]) : "",
        select("sort", "Order", Object.keys(clipData.SORTS).map((each) => [each, each])),
        element("label", { class: "check" }, onlyMarked, element("span", {}, "marked only")),
        element("button", { type: "button", onclick: () => { Object.assign(wishes, { ...START, task: wishes.task, a: wishes.a, b: wishes.b, clip: wishes.clip }); changed(); } }, "Clear filters"),
      );
      if (kept) fields.querySelector(`[name="${kept}"]`)?.focus();
    }

    function changed() {
      task = all.tasks.find((each) => each.name === wishes.task);
      settle(wishes, task);
      if (wishes.a === wishes.b) wishes.b = 0;
      build();
      refill();
      if (clip !== null) choose(clip, false);
    }

    let timer = null;

    // After a while, since browsers refuse to note every key that is pressed.
    function noteAddress() {
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (!root.isConnected) return;
        remember(Object.fromEntries(Object.entries(wishes).filter(([key, value]) => value !== START[key])));
      }, 300);
    }

    function refill() {
      const clips = clipData.chosen(all, task, wishes, marked);
      list.fill(clips, clip ?? all.clipOf(wishes.clip));
      const whole = runA().order.length;
      count.textContent = clips.length === whole ? `${whole.toLocaleString("en")} clips` : `${clips.length.toLocaleString("en")} of ${whole.toLocaleString("en")} clips`;
      noteAddress();
    }

    // ---------------------------------------------------------------- the list and the clip

    function row(each) {
      const a = runA();
      const b = runB();
      const said = (run) => {
        if (!run?.has(each)) return null;
        const { word, kind, sign } = clipDetail.judged(run, each, task.coded);
        return element("span", { class: `answer ${kind}` }, " \u2192 ", element("bdi", {}, shown(run.answer(each) ?? word)), " ", element("span", { "aria-label": word }, sign));
      };
      return [
        element("span", { class: "id" }, element("bdi", {}, shown(all.id(each))), marked(each) ? element("span", { class: "star", "aria-label": "marked" }, " \u2605") : null),
        element("span", { class: "what" }, element("bdi", {}, shown(a.goldWord(each) ?? "no label")), said(a), said(b)),
      ];
    }

    function choose(each, focused = true) {
      clip = each;
      wishes.clip = all.id(each);
      const id = all.id(each);
      const runs = [runA(), runB()].filter((run) => run?.has(each));
      title.replaceChildren(element("bdi", {}, shown(id)));
      const about = { label: task.runs.find((run) => run.has(each))?.goldWord(each), speaker: all.speaker(each), group: all.group(each) === all.speaker(each) ? null : all.group(each), duration: all.seconds(each) === null ? null : `${all.seconds(each).toFixed(2)} s`, row: all.source(each) };
      facts.replaceChildren(...Object.entries(about).filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => element("span", {}, `${name} `, element("b", {}, element("bdi", {}, shown(value))))));
      mark.setAttribute("aria-pressed", String(marked(each)));
      note.value = marks.of(id).note;
      playing?.media?.pause();
      const made = clipDetail.detail(all, task, each, runs.length ? runs : [task.runs.find((run) => run.has(each))]);
      playing = made.playing;
      body.replaceChildren(...made.parts);
      if (focused) {
        const { word } = clipDetail.judged(runA(), each, task.coded);
        announce(`${shown(id)}, ${word}`);
      }
      noteAddress();
    }

    function setMark() {
      marks.set(all.id(clip), { marked: !marked(clip) });
      mark.setAttribute("aria-pressed", String(marked(clip)));
      announce(marked(clip) ? "marked" : "not marked");
      list.draw();
      told();
    }

    function told() {
      kept.textContent = marks.kept ? "" : "This browser keeps nothing for this page: export marks and notes before you close it.";
    }

    const kept = element("p", { class: "hint" });
    // Whoever speaks to the computer, or writes with a switch, can do without keys of one letter (WCAG 2.1.4).
    const useKeys = element("input", { type: "checkbox", name: "keys", checked: true });

    function save() {
      const header = ["id", "dataset", "split", "task", "label", "run A", "answer A", "outcome A", "run B", "answer B", "outcome B", "marked", "note"];
      const side = (run, each) => (run?.has(each) ? [run.run, run.answer(each), clipDetail.judged(run, each, task.coded).word] : ["", "", ""]);
      const ids = marks.ids();
      const rows = ids.map((id) => {
        const each = all.clipOf(id);
        const mark = marks.of(id);
        if (each === undefined) return [id, "", "", "", "", "", "", "", "", "", "", mark.marked ? "yes" : "no", mark.note];
        const label = task.runs.find((run) => run.has(each))?.goldWord(each);
        return [id, all.dataset(each), all.split(each), task.name, label, ...side(runA(), each), ...side(runB(), each), mark.marked ? "yes" : "no", mark.note];
      });
      clipMarks.download([header, ...rows], "marks.csv");
      announce(`${ids.length} marks and notes exported`);
    }

    const keys = { n: () => list.step(1), p: () => list.step(-1), m: () => clip !== null && setMark(), " ": () => playing?.toggle(), "/": () => fields.querySelector("[name=search]").focus() };

    root.append(
      element("details", { class: "wishes", open: matchMedia("(min-width: 50rem)").matches }, element("summary", {}, "Filters and order"), fields),
      element(
        "div",
        { class: "columns" },
        element(
          "div",
          { class: "side" },
          element("div", { class: "tools" }, count, element("button", { type: "button", onclick: save }, "Export marks")),
          kept,
          list.box,
          element("p", { class: "hint keys" }, element("label", {}, useKeys, " Keys: "), ["n next", "p previous", "m mark", "space play", "/ search"].map((each) => [element("kbd", {}, each.split(" ")[0]), ` ${each.split(" ")[1]} `])),
        ),
        element(
          "article",
          { class: "clip", "aria-labelledby": "clip-title" },
          element("div", { class: "top" }, title, element("div", { class: "buttons" }, element("button", { type: "button", "aria-keyshortcuts": "p", onclick: () => list.step(-1) }, "Previous"), element("button", { type: "button", "aria-keyshortcuts": "n", onclick: () => list.step(1) }, "Next"), mark)),
          facts,
          body,
          element("label", { class: "note" }, element("span", {}, "Note"), note),
          all.notes.length ? element("details", {}, element("summary", {}, `About these clips (${all.notes.length})`), element("ul", {}, all.notes.map((each) => element("li", {}, shown(each))))) : null,
        ),
      ),
    );
    build();
    told();
    return {
      root,
      // Once it is in the document, and has a height.
      begin: () => {
        refill();
        const first = all.clipOf(wishes.clip) ?? list.items()[0];
        if (first === undefined) return;
        list.fill(list.items(), first);
        choose(first, false);
      },
      key: (event) => {
        const written = event.target.closest("input:not([type=checkbox]), select, textarea");
        if (written || !useKeys.checked || event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
        // Space presses a button, and plays where a player has the focus.
        if (event.key === " " && event.target.closest("button, summary, a, input, video, audio")) return;
        event.preventDefault();
        keys[event.key]();
      },
    };
  }

  document.addEventListener("keydown", (event) => {
    if (current?.root.isConnected) current.key(event);
  });

  view("clips", { title: "Clips", needs: "clips", show, shown: () => current.begin() });
})();
