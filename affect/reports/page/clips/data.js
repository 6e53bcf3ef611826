// The clips and predictions of the page, unpacked: what the clip browser filters, sorts and exports. No elements here.
"use strict";

const clipData = (() => {
  const NONE = -1;
  const NO_PROMPT = -2; // as affect.reports.page.clips.prompts
  const OUTCOMES = ["valid", "no_label", "several_labels", "refusal", "empty", "out_of_range", "error"];
  const NAMED = ["only the right label", "the right label and others", "only other labels", "no label"];

  // Settings that are known by their values.
  const SHORT = ["model", "tuning", "modalities"];
  const DURATIONS = [1, 2, 4, 8, 16];
  const WORDS = [1, 4, 8, 16, 32];

  // The block `clips` with functions over it. A task's runs get their place by clip number.
  function unpacked(content) {
    const { texts, clips, orders } = content;
    const text = (number) => (number === NONE || number === undefined ? null : texts[number]);
    const count = clips.id.length;
    const places = orders.map((order) => {
      const place = new Int32Array(count).fill(NONE);
      order.forEach((clip, at) => { place[clip] = at; });
      return place;
    });
    const ofClip = (name) => (clip) => text(clips[name][clip]);
    const tasks = content.tasks.map((task) => {
      const coded = task.kind !== "intensity";
      // What stands for a code or a number, in words.
      const word = (value) => {
        if (value === null || value === NONE && coded) return null;
        if (!coded) return String(value);
        const meant = task.values[value];
        return Array.isArray(meant) ? meant.join(", ") || "none" : meant;
      };
      const runs = task.runs.map((column) => {
        const place = places[column.order];
        const gold = task.golds[column.gold];
        const bars = column.score ? task.bars[column.bars] : [];
        const value = (clip) => column.value[place[clip]];
        const known = (each) => each !== null && each !== undefined && !(coded && each === NONE);
        return {
          ...column,
          order: orders[column.order],
          names: bars,
          has: (clip) => place[clip] !== NONE,
          value,
          answer: (clip) => word(value(clip)),
          gold: (clip) => gold[place[clip]],
          goldWord: (clip) => word(gold[place[clip]]),
          written: (clip) => (column.answer ? text(column.answer[place[clip]]) : null),
          problem: (clip) => (column.error ? text(column.error[place[clip]]) : null),
          outcome: (clip) => OUTCOMES[Number(column.outcome[place[clip]])],
          how: text(column.readout),
          readable: (clip) => known(value(clip)),
          // true, false, or null: an intensity is neither right nor wrong, and a clip without label is not scored.
          right: (clip) => (coded && known(gold[place[clip]]) ? value(clip) === gold[place[clip]] : null),
          error: (clip) => (!coded && known(gold[place[clip]]) && known(value(clip)) ? Math.abs(value(clip) - gold[place[clip]]) : null),
          // Shares from 0 to 1, in the order of `names`; null without scores.
          scores: (clip) => {
            if (!bars.length) return null;
            const from = place[clip] * bars.length;
            const some = column.score.slice(from, from + bars.length);
            return some.some((each) => each > 0) ? some.map((each) => each / 1000) : null;
          },
          confidence: (clip) => {
            if (!coded || !bars.length) return null;
            const from = place[clip] * bars.length;
            let most = 0;
            for (let at = from; at < from + bars.length; at++) most = Math.max(most, column.score[at]);
            return most ? most / 1000 : null;
          },
          prompted: (clip) => prompt(content, column.prompt, place[clip], text),
          label: `${column.run}: ${Object.entries(column.setting).map(([key, each]) => (SHORT.includes(key) ? each : `${key} ${each}`)).join(", ") || "the only run"}`,
        };
      });
      return { ...task, coded, word, runs, ofRun: new Map(runs.map((run) => [run.run, run])), namings: task.namings };
    });
    const byId = new Map();
    clips.id.forEach((number, clip) => { if (!byId.has(texts[number])) byId.set(texts[number], clip); });
    const lower = [];
    return {
      count,
      tasks,
      notes: content.notes,
      clipOf: (id) => byId.get(id),
      id: ofClip("id"),
      dataset: ofClip("dataset"),
      split: ofClip("split"),
      group: ofClip("group"),
      speaker: ofClip("speaker"),
      language: ofClip("language"),
      transcript: ofClip("text"),
      source: ofClip("source"),
      link: ofClip("media"),
      why: ofClip("why"),
      context: (clip) => clips.context[clip].map(text),
      video: (clip) => clips.video[clip] === 1,
      preview: (clip) => clips.preview[clip] === 1,
      start: (clip) => clips.start[clip] ?? 0,
      end: (clip) => clips.end[clip],
      seconds: (clip) => clips.seconds[clip],
      peaks: (clip) => digits(clips.peaks[clip]),
      levels: (clip) => digits(clips.levels[clip]),
      loudest: (clip) => clips.loudest[clip], // dB, of the largest peak
      namings: (task, number) => task.namings[number] ?? [],
      // What a search looks through.
      searched: (clip) => {
        lower[clip] ??= [ofClip("id")(clip), ofClip("speaker")(clip), ofClip("text")(clip)].join("\n").toLowerCase();
        return lower[clip];
      },
    };
  }

  // The prompt of a run for a clip: `system`, `media`, `slots` and `descriptions` by name; `why` it is not known.
  function prompt(content, number, at, text) {
    if (number < 0) return null;
    const listed = content.prompts[number];
    const shown = (columns) => Object.entries(columns).filter(([, some]) => some[at] !== NONE).map(([name, some]) => ({ name, number: some[at], text: text(some[at]) }));
    return {
      ...listed,
      system: text(listed.system),
      heard: listed.heard ? text(listed.heard[at]) : null,
      slots: shown(listed.slots),
      descriptions: shown(listed.descriptions).map((each) => ({ ...each, named: NAMED[listed.named[each.name][at]] ?? null })),
    };
  }

  const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

  // Numbers from 0 to 1.
  function digits(letters) {
    return Array.from(letters ?? "", (letter) => LETTERS.indexOf(letter) / 63);
  }

  // ------------------------------------------------------------------ filters

  const SLICES = {
    speaker: (all, clip) => all.speaker(clip),
    group: (all, clip) => all.group(clip),
    split: (all, clip) => all.split(clip),
    language: (all, clip) => all.language(clip),
    duration: (all, clip) => bin(all.seconds(clip), DURATIONS, "s"),
    "transcript length": (all, clip) => {
      const words = all.transcript(clip);
      return words === null ? null : bin(words.trim() ? words.trim().split(/\s+/).length : 0, WORDS, "words");
    },
  };

  // "2 to 4 s": the part that a number lies in; its lower end belongs to it.
  function bin(value, ends, unit) {
    if (value === null || value === undefined) return null;
    const at = ends.findIndex((end) => value < end);
    if (at === 0) return `under ${ends[0]} ${unit}`;
    return at < 0 ? `${ends.at(-1)} ${unit} or more` : `${ends[at - 1]} to ${ends[at]} ${unit}`;
  }

  // The values of a slice over some clips, each with the number of its clips: parts in their order, others by frequency.
  function values(all, slice, clips) {
    const counts = new Map();
    for (const clip of clips) {
      const value = SLICES[slice](all, clip);
      if (value !== null) counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    const first = (value) => (value.startsWith("under") ? -1 : parseFloat(value));
    const parts = slice === "duration" || slice === "transcript length";
    return [...counts].sort((one, other) => (parts ? first(one[0]) - first(other[0]) : other[1] - one[1] || (one[0] < other[0] ? -1 : 1)));
  }

  const AGREEMENT = {
    differ: (a, b, clip, apart) => (a.task.coded ? a.value(clip) !== b.value(clip) : Math.abs(a.value(clip) - b.value(clip)) >= apart),
    same: (a, b, clip, apart) => !AGREEMENT.differ(a, b, clip, apart),
    "only A right": (a, b, clip) => (a.task.coded ? a.right(clip) === true && b.right(clip) === false : nearer(a, b, clip)),
    "only B right": (a, b, clip) => (a.task.coded ? b.right(clip) === true && a.right(clip) === false : nearer(b, a, clip)),
    "both wrong": (a, b, clip) => a.right(clip) === false && b.right(clip) === false,
    "both right": (a, b, clip) => a.right(clip) === true && b.right(clip) === true,
  };

  function nearer(one, other, clip) {
    return one.error(clip) !== null && (other.error(clip) === null || one.error(clip) < other.error(clip));
  }

  const OUTCOME = {
    right: (run, clip) => run.right(clip) === true,
    wrong: (run, clip) => run.right(clip) === false && run.readable(clip),
    unreadable: (run, clip) => !run.readable(clip) && run.outcome(clip) !== "error",
    error: (run, clip) => run.outcome(clip) === "error",
    unlabelled: (run, clip) => run.goldWord(clip) === null,
  };

  // Numbers of the clips of a run that the wishes leave, in the wished order. `marked(clip)` says whether one is marked.
  function chosen(all, task, wishes, marked) {
    const a = { ...task.ofRun.get(wishes.a), task };
    const b = wishes.b && task.ofRun.has(wishes.b) ? { ...task.ofRun.get(wishes.b), task } : null;
    const needle = wishes.search.trim().toLowerCase();
    const low = wishes.low / 100;
    const high = wishes.high / 100;
    const limited = low > 0 || high < 1;
    const left = a.order.filter((clip) => {
      if (wishes.gold && a.goldWord(clip) !== wishes.gold) return false;
      if (wishes.answer && a.answer(clip) !== wishes.answer) return false;
      if (wishes.outcome && !OUTCOME[wishes.outcome](a, clip)) return false;
      if (wishes.off > 0 && !(a.error(clip) >= wishes.off)) return false;
      if (b && wishes.agreement && !(b.has(clip) && AGREEMENT[wishes.agreement](a, b, clip, wishes.apart))) return false;
      if (limited) {
        const confidence = a.confidence(clip);
        if (confidence === null || confidence < low || confidence > high) return false;
      }
      if (wishes.slice && wishes.part && SLICES[wishes.slice](all, clip) !== wishes.part) return false;
      if (wishes.marked && !marked(clip)) return false;
      return !needle || all.searched(clip).includes(needle);
    });
    return sorted(left, all, task, a, wishes.sort);
  }

  const SORTS = {
    "as in the dataset": null,
    "least confident first": (all, task, run) => run.confidence,
    "most confident first": (all, task, run) => (clip) => -run.confidence(clip),
    "wrong in most runs first": (all, task) => share(task),
    "largest error first": (all, task, run) => (clip) => -(run.error(clip) ?? -1),
    "longest first": (all) => (clip) => -(all.seconds(clip) ?? 0),
  };

  function sorted(clips, all, task, run, name) {
    const key = SORTS[name]?.(all, task, run);
    if (!key) return clips;
    const keys = new Map(clips.map((clip) => [clip, key(clip)]));
    return clips.sort((one, other) => keys.get(one) - keys.get(other));
  }

  // The share of a task's runs that are right about a clip.
  function share(task) {
    return (clip) => {
      let right = 0;
      let scored = 0;
      for (const run of task.runs) {
        if (!run.has(clip) || run.right(clip) === null) continue;
        scored += 1;
        right += run.right(clip) ? 1 : 0;
      }
      return scored ? right / scored : 1;
    };
  }

  // ------------------------------------------------------------------ export

  // As affect.data.tables.for_spreadsheets: a cell that a spreadsheet would run as a formula gets an apostrophe.
  const FORMULA = /^'*\s*[=+@\uff1d\uff0b\uff0d\uff20-]\s*\S/;
  const NUMBER = /^\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?%?\s*$/;

  function cell(value) {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
    return `"${safe.replaceAll('"', '""')}"`;
  }

  function table(rows) {
    return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
  }

  return { NONE, NO_PROMPT, unpacked, chosen, values, share, table, SLICES, AGREEMENT, OUTCOME, SORTS };
})();
