// Charts, drawn by plotly, which is unpacked when the first of them is shown. Each has its numbers in a table too.
//
// A chart is what affect/reports/charts.py says: {title, x_label, y_label, kind: "line" | "bar" | "heat map", series:
// [{name, x, y, low, high}]}.
"use strict";

(() => {
  const { element, shown, unpack } = affect;

  // As in affect/reports/drawing.py: told apart with any kind of colour blindness (Okabe and Ito 2008).
  const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
  const MARKERS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "x", "star"];
  const LONGEST = 40;

  let library = null;

  function plotly() {
    library ??= unpack(document.getElementById("plotly").textContent).then((source) => {
      const script = document.createElement("script");
      script.textContent = source; // the policy of the page has its hash
      document.head.append(script);
      return window.Plotly;
    });
    return library;
  }

  // plotly reads tags and entities in texts.
  function literal(text, longest = LONGEST) {
    const letters = [...shown(text)];
    const cut = letters.length > longest ? `${letters.slice(0, longest - 1).join("")}…` : letters.join("");
    return cut.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // `width` is that of the drawing in pixels; a letter of the title needs about 9.
  function layout(chart, width) {
    const axis = { gridcolor: colour("--line"), linecolor: colour("--faint"), zerolinecolor: colour("--line"), automargin: true };
    return {
      title: { text: literal(chart.title, Math.floor(width / 9)), font: { size: 15 }, x: 0.01, xanchor: "left" },
      font: { color: colour("--fore"), family: "system-ui, sans-serif" },
      paper_bgcolor: colour("--back"),
      plot_bgcolor: colour("--back"),
      colorway: COLOURS,
      margin: { l: 60, r: 20, t: 48, b: 64 },
      xaxis: { ...axis, title: { text: literal(chart.x_label), standoff: 8 } },
      yaxis: { ...axis, title: { text: literal(chart.y_label), standoff: 8 } },
      legend: { orientation: "v", x: 1.01, xanchor: "left", y: 1, yanchor: "top" },
      showlegend: chart.kind !== "heat map" && chart.series.length > 1,
      hovermode: "closest",
      barmode: "group",
      dragmode: false,
    };
  }

  // The range of a categorical axis: a few bars are no wider than those of four.
  const room = (places) => [-0.5 - Math.max(0, 4 - places) / 2, places - 0.5 + Math.max(0, 4 - places) / 2];

  const number = (value) => (value === null || value === undefined ? "undefined" : Math.abs(value) >= 1000 || Number.isInteger(value) ? String(value) : value.toPrecision(4));
  const categorical = (chart) => chart.kind !== "line" || chart.series.some((series) => series.x.some((x) => typeof x === "string"));
  const categories = (chart) => chart.categories ?? [...new Set(chart.series.flatMap((series) => series.x.map(String)))];

  function hover(series, place) {
    const ends = series.low?.length && series.low[place] !== null ? ` [${number(series.low[place])}, ${number(series.high[place])}]` : "";
    return `${literal(series.name)}<br>${literal(series.x[place])}: ${number(series.y[place])}${ends}`;
  }

  function traces(chart, labels) {
    const place = (x) => (labels ? labels.indexOf(String(x)) : x);
    if (chart.kind === "heat map") {
      const z = chart.series.map((series) => labels.map((label) => series.y[series.x.map(String).indexOf(label)] ?? null));
      return [{
        type: "heatmap", z, x: labels.map((_, i) => i), y: chart.series.map((_, i) => i), colorscale: "Cividis", hoverinfo: "text",
        hovertext: chart.series.map((series) => labels.map((label) => (series.x.map(String).includes(label) ? hover(series, series.x.map(String).indexOf(label)) : ""))),
      }];
    }
    return chart.series.map((series, i) => {
      const ends = series.low?.length ? { array: series.high.map((high, j) => (high === null ? 0 : high - series.y[j])), arrayminus: series.low.map((low, j) => (low === null ? 0 : series.y[j] - low)) } : null;
      const shared = {
        name: literal(series.name), x: series.x.map(place), y: series.y, hoverinfo: "text", hovertext: series.x.map((_, j) => hover(series, j)),
        ...(ends ? { error_y: { type: "data", symmetric: false, ...ends, color: colour("--fore"), thickness: 1.2, width: 4 } } : {}),
      };
      if (chart.kind === "bar") return { ...shared, type: "bar" };
      const many = series.x.length > 60;
      return {
        ...shared, type: "scatter", mode: chart.points ? "markers" : many ? "lines" : "lines+markers", connectgaps: false,
        line: { dash: DASHES[Math.floor(i / COLOURS.length) % DASHES.length], width: 2 }, marker: { symbol: MARKERS[i % MARKERS.length], size: 8 },
      };
    });
  }

  function numbers(chart) {
    const labels = chart.series.some((series) => series.low?.length);
    const rows = chart.series.flatMap((series) => series.x.map((x, i) => ({ name: series.name, x, y: series.y[i], low: series.low?.[i] ?? null, high: series.high?.[i] ?? null })));
    const columns = [
      { key: "name", heading: "series", kind: "word", value: (row) => row.name },
      { key: "x", heading: chart.x_label, kind: typeof rows[0]?.x === "number" ? "number" : "word", value: (row) => row.x },
      { key: "y", heading: chart.y_label, kind: "number", value: (row) => row.y, cell: (row) => number(row.y) },
      ...(labels ? [{ key: "low", heading: "interval", kind: "number", value: (row) => row.low, cell: (row) => (row.low === null ? "-" : `[${number(row.low)}, ${number(row.high)}]`) }] : []),
    ];
    return affect.table({ label: `Numbers of ${shown(chart.title)}`, columns, rows, filters: false });
  }

  // An element that shows the chart once it is in the document and on the screen.
  function figure(chart) {
    const labels = categorical(chart) ? categories(chart) : null;
    const drawn = element("div", { class: "drawn", role: "img", "aria-label": `Chart: ${shown(chart.title)}, ${shown(chart.y_label)} by ${shown(chart.x_label)}. Its numbers follow in a table.` });
    const table = element("details", { class: "numbers" }, element("summary", {}, "Numbers of this chart"));
    table.addEventListener("toggle", () => table.childElementCount === 1 && table.append(numbers(chart)));
    const root = element("figure", {}, drawn, table);
    const draw = async () => {
      const Plotly = await plotly();
      const shape = layout(chart, drawn.clientWidth);
      if (labels) Object.assign(shape.xaxis, { tickmode: "array", tickvals: labels.map((_, i) => i), ticktext: labels.map((label) => literal(label)), range: room(labels.length) });
      if (chart.kind === "heat map") Object.assign(shape.yaxis, { tickmode: "array", tickvals: chart.series.map((_, i) => i), ticktext: chart.series.map((series) => literal(series.name)), autorange: "reversed" });
      await Plotly.react(drawn, traces(chart, labels), shape, { displayModeBar: false, responsive: true });
      drawn.dataset.drawn = "true";
    };
    const fail = (error) => drawn.replaceChildren(element("p", { class: "problem" }, `The chart cannot be drawn: ${shown(error.message)}`));
    new IntersectionObserver((seen, observer) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      observer.disconnect();
      draw().catch(fail);
      document.addEventListener("affect:theme", () => drawn.isConnected && draw().catch(fail));
    }).observe(drawn);
    return root;
  }

  affect.figure = figure;
})();
