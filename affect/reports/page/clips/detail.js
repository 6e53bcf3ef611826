// One clip: player and waveform, what is said, and what runs answered and were shown.
"use strict";

const clipDetail = (() => {
  const { element, shown, address } = affect;
  const PIECE = 20_000; // letters of a text that are shown at a time
  const RUNS = 25; // runs of a table that are shown at a time

  function percent(share) {
    return `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
  }

  // A text from outside, of any length: the rest of a long one is asked for.
  function long(text, marks = []) {
    const box = element("div", { class: "said", dir: "auto" });
    let at = 0;
    function more() {
      const end = Math.min(text.length, at + PIECE);
      box.querySelector(":scope > button")?.remove();
      for (const [from, to, labels] of marks.filter((each) => each[0] >= at && each[1] <= end)) {
        box.append(shown(text.slice(at, from)), element("mark", { title: `names ${shown(labels)}` }, shown(text.slice(from, to))));
        at = to;
      }
      box.append(shown(text.slice(at, end)));
      at = end;
      if (at < text.length) {
        box.append(element("button", { type: "button", onclick: more }, `Show more of ${text.length.toLocaleString("en")} letters`));
      }
    }
    more();
    return box;
  }

  function part(title, ...children) {
    return element("section", { class: "part" }, element("h3", {}, title), children);
  }

  function judged(run, clip, coded) {
    if (!run.readable(clip)) return { word: run.outcome(clip) === "error" ? "no answer" : "unreadable", kind: "unread", sign: "?" };
    if (run.goldWord(clip) === null) return { word: "no label", kind: "none", sign: "" };
    if (!coded) return { word: `off by ${run.error(clip).toFixed(2)}`, kind: "none", sign: "" };
    return run.right(clip) ? { word: "right", kind: "right", sign: "\u2713" } : { word: "wrong", kind: "wrong", sign: "\u2717" };
  }

  // An answer with a sign and a word, so that colour is not needed.
  function answered(run, clip, task) {
    const { word, kind, sign } = judged(run, clip, task.coded);
    const answer = run.answer(clip);
    return element("span", { class: `answer ${kind}` }, answer === null ? null : element("bdi", {}, shown(answer)), " ", element("span", { class: "verdict" }, `${sign} ${word}`));
  }

  function table(label, headings, rows) {
    return element(
      "div",
      { class: "scroller", role: "region", tabindex: "0", "aria-label": label },
      element("table", {}, element("caption", { class: "unseen" }, label), element("thead", {}, element("tr", {}, headings)), element("tbody", {}, rows)),
    );
  }

  function head(text, kind) {
    return element("th", { scope: "col", class: kind }, text);
  }

  // The share of a label as a number on a bar.
  function bar(share, kind) {
    const cell = element("td", { class: `bar ${kind}` }, element("span", {}, percent(share)));
    cell.style.setProperty("--share", String(share));
    return cell;
  }

  // ------------------------------------------------------------------ predictions

  function predictions(task, clip, chosen) {
    const runs = task.runs.filter((run) => run.has(clip));
    // Those that are compared stand first.
    const ordered = [...chosen.map((number) => task.ofRun.get(number)), ...runs.filter((run) => !chosen.includes(run.run))];
    const names = [...new Set(ordered.flatMap((run) => (run.scores(clip) ? run.names : [])))];
    const written = ordered.some((run) => run.written(clip) !== null || run.problem(clip) !== null);
    const gold = ordered[0]?.goldWord(clip);
    const headings = [
      head("run"),
      head("answer"),
      written ? head("written") : null,
      names.map((name) => head(element("bdi", {}, shown(name), name === gold ? " (label)" : ""), "number")),
    ];
    function row(run) {
      const scores = run.scores(clip);
      const side = { [chosen[0]]: "A", [chosen[1]]: "B" }[run.run];
      const other = run.goldWord(clip) !== gold ? element("span", { class: "hint" }, ` its label: ${shown(run.goldWord(clip) ?? "none")}`) : null;
      return element(
        "tr",
        { class: side ? "compared" : null },
        element("th", { scope: "row" }, side ? element("b", { class: "badge" }, side) : null, element("a", { href: address("run", [String(run.run)]) }, shown(run.label))),
        element("td", {}, answered(run, clip, task), other),
        written ? element("td", { class: "written" }, long(run.written(clip) ?? ""), run.problem(clip) === null ? null : element("span", { class: "hint" }, shown(run.problem(clip)))) : null,
        names.map((name) => {
          const at = scores ? run.names.indexOf(name) : -1;
          return at < 0 ? element("td", {}, "") : bar(scores[at], `${name === gold ? "gold" : ""} ${name === run.answer(clip) ? "given" : ""}`);
        }),
      );
    }
    const box = element("div");
    function draw(most) {
      box.replaceChildren(table(`Predictions of ${ordered.length} runs`, headings, ordered.slice(0, most).map(row)));
      if (ordered.length > most) {
        box.append(element("button", { type: "button", onclick: () => draw(ordered.length) }, `Show all ${ordered.length.toLocaleString("en")} runs`));
      }
    }
    draw(RUNS);
    const share = clipData.share(task)(clip);
    const summary = task.coded && gold !== null && runs.length > 1 ? element("p", { class: "hint" }, `${Math.round(share * runs.length)} of ${runs.length} runs are right.`) : null;
    return part("Predictions", summary, box);
  }

  // What changes with a modality, or with descriptions, among runs that are else like run A.
  function ablation(task, clip, run, which, title, given) {
    const alike = task.runs.filter((each) => each.alike[which] === run.alike[which] && each.has(clip));
    if (new Set(alike.map(given)).size < 2) return null;
    const scored = alike.some((each) => each.scores(clip));
    const rows = alike
      .slice()
      .sort((one, other) => given(one).length - given(other).length || one.run - other.run)
      .slice(0, RUNS)
      .map((each) => {
        const scores = each.scores(clip);
        const at = scores ? each.names.indexOf(each.goldWord(clip)) : -1;
        return element(
          "tr",
          { class: each.run === run.run ? "compared" : null },
          element("th", { scope: "row" }, shown(given(each)), element("span", { class: "hint" }, ` run ${each.run}`)),
          element("td", {}, answered(each, clip, task)),
          scored ? (at < 0 ? element("td", {}, "") : bar(scores[at], "gold")) : null,
        );
      });
    const headings = [head(which === 0 ? "modalities" : "descriptions"), head("answer"), scored ? head("score of the label", "number") : null];
    return part(title, element("p", { class: "hint" }, `Runs that are like run ${run.run} in all other settings, and of its seed.`), table(title, headings, rows));
  }

  // ------------------------------------------------------------------ what was shown

  function described(all, task, clip, runs) {
    const seen = new Set();
    const parts = [];
    for (const run of runs) {
      const prompt = run.prompted(clip);
      for (const each of prompt?.descriptions ?? []) {
        const key = `${each.name} ${each.number} ${prompt.control}`;
        if (seen.has(key)) continue;
        seen.add(key);
        parts.push(
          element("h4", {}, `${each.name.replaceAll("_", " and ")}, run ${run.run}${prompt.control === "none" ? "" : `: not the clip's own (control: ${shown(prompt.control)})`}`),
          each.named === null ? null : element("p", { class: "hint" }, `It names ${each.named}${each.named === "no label" ? "." : ", as marked."}`),
          long(each.text, all.namings(task, each.number)),
        );
      }
      if (prompt?.audit.length && !seen.has(prompt.audit.join())) {
        seen.add(prompt.audit.join());
        parts.push(element("details", {}, element("summary", {}, `Leak audit of all descriptions, run ${run.run}`), element("ul", {}, prompt.audit.map((each) => element("li", {}, shown(each))))));
      }
    }
    return parts.length ? part("Descriptions", parts) : null;
  }

  function prompts(clip, runs) {
    return runs.map((run) => {
      if (run.prompt === clipData.NO_PROMPT) return element("p", { class: "hint" }, `Run ${run.run} has no prompt: its method is no language model.`);
      if (run.prompt === clipData.NONE) return element("p", { class: "hint" }, `This page was made without the prompts of run ${run.run}.`);
      const details = element("details", { class: "prompt" }, element("summary", {}, `Prompt of run ${run.run}`));
      details.addEventListener("toggle", () => details.childElementCount === 1 && details.append(...messages(run.prompted(clip))), { once: true });
      return details;
    });
  }

  function messages(prompt) {
    const notes = prompt.why.map((each) => element("p", { class: "hint", role: "note" }, shown(each ?? "")));
    if (!prompt.slots.length) return notes;
    const letters = prompt.slots.reduce((sum, each) => sum + each.text.length, 0);
    if (letters > prompt.budget) {
      notes.push(element("p", { class: "hint" }, `Tokens are not counted here: over prompting.max_text_tokens=${prompt.budget}, the model was shown a shortened prompt.`));
    }
    if (prompt.intervention !== "none") {
      notes.push(element("p", { class: "hint" }, `The clip was changed before the model was given it: intervention=${shown(prompt.intervention)}.`));
    }
    const slot = (name, content) => [element("dt", {}, shown(name)), element("dd", {}, content)];
    return [
      ...notes,
      element(
        "dl",
        {},
        slot("system", long(prompt.system ?? "")),
        prompt.media.map((name) => slot(name, element("span", { class: "hint" }, `the ${name} of the clip`))),
        prompt.slots.map((each) => slot(each.name, long(each.text))),
      ),
    ];
  }

  // ------------------------------------------------------------------ all

  // The parts of a clip below its heading. `runs`: A, and B if there is one.
  function detail(all, task, clip, runs) {
    const playing = clipPlayer.player(all, clip);
    const heard = runs.map((run) => run.prompted(clip)?.heard ?? null).find((text) => text !== null) ?? null;
    const transcript = heard ?? all.transcript(clip);
    const context = all.context(clip);
    const spoken = transcript === null ? element("p", { class: "hint" }, `There is no transcript here: ${shown(all.why(clip) ?? "it is not known")}.`) : long(transcript);
    const turns = context.length ? element("details", {}, element("summary", {}, `${context.length} earlier turns`), element("ol", { class: "turns" }, context.map((turn) => element("li", {}, long(turn))))) : null;
    const parts = [
      element("div", { class: "seen" }, playing.box, clipPlayer.waveform(all, clip, playing)),
      part("Transcript", turns, heard === null ? null : element("p", { class: "hint" }, "Written down by a speech recogniser."), transcript !== null && !transcript.trim() ? element("p", { class: "hint" }, "It is empty.") : spoken),
      predictions(task, clip, runs.map((run) => run.run)),
      ablation(task, clip, runs[0], 0, "With and without each modality", (run) => run.modalities),
      ablation(task, clip, runs[0], 1, "With and without descriptions", (run) => run.described || "none"),
      described(all, task, clip, runs),
      part("Prompts", prompts(clip, runs)),
    ];
    return { parts: parts.filter((each) => each !== null), playing };
  }

  return { detail, judged };
})();
