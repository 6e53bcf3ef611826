// What all views of the page use: data, elements, routing, the theme.
//
// Everything of a run, a clip or a model is hostile text. It comes into the document as text alone (`element`, `shown`),
// never as HTML, never as an address, a style or a name of an event.
"use strict";

const affect = (() => {
  const views = new Map();
  const values = new Map();
  const waiting = new Map();
  const live = document.body.dataset.live === "true";
  let served = { version: null, blocks: [], progress: [] }; // what the server of a live page said last

  // ------------------------------------------------------------------ data

  async function unpack(base64) {
    const letters = atob(base64);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  function holder(name) {
    return [...document.querySelectorAll("script[data-block]")].find((each) => each.dataset.block === name);
  }

  // Names of the blocks that the page has.
  function blocks() {
    if (live) return served.blocks;
    return [...document.querySelectorAll("script[data-block]")].map((each) => each.dataset.block);
  }

  // The value of a block, by its name. It is unpacked once.
  function data(name) {
    if (!values.has(name)) values.set(name, packed(name).then(unpack).then(JSON.parse));
    return values.get(name);
  }

  // What the server of a live page answers.
  async function asked(path, query = {}) {
    const words = new URLSearchParams({ ...query, ...Object.fromEntries(new URLSearchParams(location.search)) });
    const answer = await fetch(`${path}?${words}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(text);
    return text;
  }

  // The address of the file of a clip, by the path that its block has.
  function media(path) {
    if (live) return `media/${path}${location.search}`;
    // Where the page is a folder, it lies one folder deeper than the file that paths are relative to.
    return (document.querySelector("script[data-file]") ? "../" : "./") + path;
  }

  function packed(name) {
    if (live) return asked("block", { name });
    const script = holder(name);
    if (!script) return Promise.reject(new Error(`The page has no data called ${name}`));
    if (!script.dataset.file) return Promise.resolve(script.textContent);
    return new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const loader = document.createElement("script");
      loader.nonce = script.dataset.nonce;
      loader.src = script.dataset.file;
      loader.onerror = () => reject(new Error(`${script.dataset.file} lies no longer beside this page: move both`));
      document.head.append(loader);
    });
  }

  // Called by the files that blocks lie in where the page is a folder.
  function deliver(name, text) {
    waiting.get(name)?.(text);
    waiting.delete(name);
  }

  // ------------------------------------------------------------------ elements

  // Letters that would turn the direction of what stands beside them, or show nothing.
  const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

  const LONGEST = 20_000; // letters that are shown in one piece
  const BRIEF = 1_000; // letters of a cell or a line, before one asks for more

  // Text from outside, with what cannot be seen written as its number.
  function shown(text) {
    const all = String(text);
    const piece = all.length > LONGEST ? `${all.slice(0, LONGEST)}… (${all.length.toLocaleString("en")} letters)` : all;
    return piece.replace(UNSEEN, (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
  }

  // Text from outside where there is room for a few words only.
  function short(text, most = 80) {
    const letters = [...shown(String(text).slice(0, 10 * most))];
    return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : letters.join("");
  }

  // A key or heading that may be broken behind its points and underscores.
  function broken(text) {
    return shown(text).split(/(?<=[._/])/).flatMap((part, i) => (i ? [element("wbr"), part] : [part]));
  }

  // Text from outside in a cell or a line: of a long one the beginning, and a button for more.
  function brief(text) {
    const all = String(text);
    if (all.length <= BRIEF) return document.createTextNode(shown(all));
    let at = BRIEF;
    const more = element("button", { type: "button" }, `Show more of ${all.length.toLocaleString("en")} letters`);
    more.addEventListener("click", () => {
      more.before(shown(all.slice(at, at + LONGEST)));
      at += LONGEST;
      if (at >= all.length) more.remove();
    });
    return element("span", {}, shown(all.slice(0, BRIEF)), " ", more);
  }

  // An element: `element("td", {class: "number", title: "…"}, "text", another)`. Children that are no elements become
  // text. Attributes are those of a list, so that no text from outside can name an event or an address.
  const ATTRIBUTES = /^(class|id|title|role|type|for|name|value|min|max|step|placeholder|tabindex|colspan|rowspan|scope|lang|dir|open|hidden|disabled|checked|selected|multiple|size|width|height|controls|preload|list|autocomplete|download|rows|cols|aria-[a-z]+|data-[a-z-]+)$/;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on") && typeof value === "function") made.addEventListener(name.slice(2), value);
      else if (name === "href" && String(value).startsWith("#")) made.setAttribute(name, value);
      else if (ATTRIBUTES.test(name)) made.setAttribute(name, value === true ? "" : String(value));
      else throw new Error(`element: ${name} is not an attribute that is set`);
    }
    for (const child of children.flat(Infinity)) {
      if (child === null || child === undefined || child === false) continue;
      made.append(child instanceof Node ? child : document.createTextNode(String(child)));
    }
    return made;
  }

  function announce(text) {
    document.getElementById("announcer").textContent = text;
  }

  // ------------------------------------------------------------------ views

  // A view: its name in addresses, its title, and `show(root, words, options)`, which fills `root`. The address
  // #NAME/WORD/WORD?KEY=VALUE shows it with these words and options; `heading: false` keeps it out of the navigation.
  function view(name, about) {
    views.set(name, about);
  }

  function address(name, words = [], options = {}) {
    const query = new URLSearchParams(options).toString();
    return `#${[name, ...words.map((word) => encodeURIComponent(word))].join("/")}${query ? `?${query}` : ""}`;
  }

  function here() {
    const [path, query] = location.hash.slice(1).split("?");
    const [name, ...words] = path.split("/");
    let readable = words;
    try {
      readable = words.map(decodeURIComponent);
    } catch {
      readable = [];
    }
    return { name: views.has(name) ? name : views.keys().next().value, words: readable, options: Object.fromEntries(new URLSearchParams(query ?? "")) };
  }

  // Changes the address without showing the view anew: for what a view keeps in it (a filter, a sorted column).
  function remember(options) {
    const now = here();
    history.replaceState(null, "", address(now.name, now.words, options));
  }

  let round = 0;

  async function show() {
    const mine = ++round;
    const now = here();
    const root = element("div", { class: `view ${now.name}` });
    for (const link of document.querySelectorAll("#views a")) {
      if (link.dataset.view === now.name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    try {
      await views.get(now.name).show(root, now.words, now.options);
    } catch (error) {
      console.error(error);
      root.append(element("p", { class: "problem", role: "alert" }, `This view cannot be shown: ${shown(error.message)}`));
    }
    if (mine === round) {
      root.dataset.address = location.hash;
      document.getElementById("main").replaceChildren(root);
      views.get(now.name).shown?.(root);
    }
  }

  function theme() {
    const button = document.getElementById("theme");
    const prefers = matchMedia("(prefers-color-scheme: dark)");
    let chosen = null;
    try {
      chosen = localStorage.getItem("affect.theme");
    } catch {
      chosen = null; // not allowed here, as in a private window
    }
    const apply = () => {
      const dark = chosen ? chosen === "dark" : prefers.matches;
      document.documentElement.dataset.theme = dark ? "dark" : "light";
      button.setAttribute("aria-pressed", String(dark));
      document.dispatchEvent(new Event("affect:theme"));
    };
    button.addEventListener("click", () => {
      chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
      try {
        localStorage.setItem("affect.theme", chosen);
      } catch {
        // It holds until the page is closed.
      }
      apply();
    });
    prefers.addEventListener("change", apply);
    apply();
  }

  function navigation() {
    const links = [...views].filter(([, about]) => about.heading !== false && !(about.needs && !blocks().includes(about.needs)));
    document.getElementById("views").replaceChildren(...links.map(([name, about]) => element("a", { href: `#${name}`, "data-view": name }, about.title)));
  }

  // ------------------------------------------------------------------ live

  const EVERY = 3000; // milliseconds between two questions

  async function follow() {
    const status = document.getElementById("live");
    let waiting = false;
    for (;;) {
      try {
        const before = served.version;
        served = JSON.parse(await asked("state"));
        status.replaceChildren(element("span", {}, shown(["Live", ...served.progress].join(". "))));
        if (before !== null && before !== served.version) waiting = true;
        if (before === null || (waiting && !occupied())) await refresh();
        else if (waiting) status.append(" ", element("button", { type: "button", onclick: refresh }, "Show new results"));
      } catch (error) {
        status.textContent = `The server of this page does not answer (${shown(error.message)}): what is shown is of before.`;
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY));
    }

    async function refresh() {
      waiting = false;
      values.clear();
      navigation();
      document.dispatchEvent(new Event("affect:refresh"));
      await show();
      document.documentElement.dataset.ready = "true";
    }
  }

  // Whether somebody is in the middle of something that a new view would take away.
  function occupied() {
    const main = document.getElementById("main");
    return (document.activeElement !== main && main.contains(document.activeElement)) || !getSelection().isCollapsed || [...document.querySelectorAll("audio, video")].some((each) => !each.paused);
  }

  function start() {
    theme();
    addEventListener("hashchange", show);
    if (live) return follow();
    navigation();
    return show().then(() => requestAnimationFrame(() => {
      document.documentElement.dataset.ready = "true";
      performance.mark("ready");
    }));
  }

  return { data, blocks, media, deliver, unpack, element, shown, short, broken, brief, announce, view, address, here, remember, show, start, live };
})();
