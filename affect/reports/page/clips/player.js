// Playing a clip, and its waveform with the level of the sound.
"use strict";

const clipPlayer = (() => {
  const { data, element, shown } = affect;

  // Percent-encoded parts of a path, as affect.reports.page.clips.recordings.link writes them, and nothing else.
  const LINK = /^[A-Za-z0-9_.~%-]+(?:\/[A-Za-z0-9_.~%-]+)*$/;
  const TYPES = ["video/mp4", "audio/mp4"];

  function nameOf(link) {
    const last = link.split("/").at(-1);
    try {
      return decodeURIComponent(last);
    } catch {
      return last;
    }
  }

  // An element with the player of a clip, or a sentence why there is none; and `toggle()`, which plays or pauses.
  function player(all, clip) {
    const box = element("div", { class: "player" });
    const link = all.link(clip);
    const own = { box, media: null, toggle: () => {}, seek: () => {}, now: () => null };
    if (!all.preview(clip) && link === null) {
      box.append(sentence(`This clip cannot be played here: ${all.why(clip) ?? "its file is not known"}.`));
      return own;
    }
    const media = document.createElement(all.video(clip) ? "video" : "audio");
    // A preview is the clip alone; a file may be longer.
    const start = all.preview(clip) ? 0 : all.start(clip);
    const seconds = all.seconds(clip);
    const end = all.preview(clip) ? null : all.end(clip);
    media.controls = true;
    media.preload = "metadata";
    media.className = "media";
    media.setAttribute("aria-label", `${all.video(clip) ? "Video" : "Sound"} of ${shown(all.id(clip))}`);
    media.addEventListener("error", () => {
      const gone = `This browser cannot play ${shown(link === null ? "the preview" : nameOf(link))}: the file was moved, or is of a kind that it does not know (.avi, for one).`;
      media.remove();
      own.media = null;
      box.prepend(sentence(`${gone} Open it with another program, or make the page with --embed, which turns clips into small previews.`));
    });
    media.addEventListener("loadedmetadata", () => {
      if (start > 0) media.currentTime = start;
      if (all.video(clip) && media.videoWidth === 0) {
        box.append(sentence("This clip has no picture, or one that this browser does not know how to show."));
      }
    });
    media.addEventListener("timeupdate", () => {
      if (end !== null && media.currentTime >= end && !media.paused) {
        media.pause();
        media.currentTime = start;
      }
    });
    own.media = media;
    own.now = () => (own.media ? media.currentTime - start : null);
    own.seek = (at) => { if (own.media) media.currentTime = start + at; };
    own.toggle = () => {
      if (!own.media) return;
      if (media.paused) media.play().catch(() => {}); // the error is told by its own event
      else media.pause();
    };
    box.append(media);
    if (end !== null && seconds !== null) {
      box.append(element("p", { class: "hint" }, `Of a longer file, from ${start.toFixed(2)} to ${end.toFixed(2)} s.`));
    }
    load(all, clip, media, link);
    return own;
  }

  async function load(all, clip, media, link) {
    if (all.preview(clip)) {
      const preview = await data(`clips/preview/${clip}`);
      if (TYPES.includes(preview.type)) media.src = `data:${preview.type};base64,${preview.data}`;
    } else if (LINK.test(link)) {
      media.src = affect.media(link);
    } else {
      media.dispatchEvent(new Event("error"));
    }
  }

  function sentence(text) {
    return element("p", { class: "hint", role: "note" }, shown(text));
  }

  // ------------------------------------------------------------------ waveform

  // The waveform of a clip, over which a click or an arrow key moves the player; a sentence where it was not measured.
  function waveform(all, clip, playing) {
    const peaks = all.peaks(clip);
    const levels = all.levels(clip);
    const seconds = all.seconds(clip);
    if (!peaks.length || !seconds) return sentence("There is no waveform of this clip.");
    const loudest = levels.indexOf(Math.max(...levels));
    const decibels = (share) => Math.round((share - 1) * 60);
    const said = `Waveform of ${seconds.toFixed(1)} s. The level is highest, ${decibels(levels[loudest])} dB, at ${((loudest / levels.length) * seconds).toFixed(1)} s.`;
    const canvas = element("canvas", { class: "waveform", role: "img", "aria-label": said });
    const figure = element(
      "figure",
      { class: "sound" },
      canvas,
      element("figcaption", {}, element("span", { class: "key peaks" }, `peaks, the largest ${all.loudest(clip)} dB`), element("span", { class: "key level" }, "level, \u221260 to 0 dB"), element("span", { class: "length" }, `${seconds.toFixed(2)} s`)),
    );

    function draw() {
      if (!canvas.isConnected) return;
      const style = getComputedStyle(canvas);
      const width = (canvas.width = Math.round(canvas.clientWidth * devicePixelRatio));
      const height = (canvas.height = Math.round(canvas.clientHeight * devicePixelRatio));
      const context = canvas.getContext("2d");
      const step = width / peaks.length;
      context.fillStyle = style.getPropertyValue("--wave");
      peaks.forEach((peak, at) => {
        const tall = Math.max(1, peak * height * 0.96);
        context.fillRect(at * step, (height - tall) / 2, Math.max(1, step * 0.7), tall);
      });
      context.strokeStyle = style.getPropertyValue("--level");
      context.lineWidth = 1.75 * devicePixelRatio;
      context.beginPath();
      levels.forEach((level, at) => context.lineTo((at + 0.5) * step, height * (0.98 - 0.96 * level)));
      context.stroke();
      const now = playing.now();
      if (now !== null && now > 0) {
        context.fillStyle = style.color;
        context.fillRect(Math.min(width - 2, (now / seconds) * width), 0, 2 * devicePixelRatio, height);
      }
    }

    function follow() {
      draw();
      if (playing.media && !playing.media.paused && canvas.isConnected) requestAnimationFrame(follow);
    }

    canvas.addEventListener("click", (event) => {
      playing.seek((event.offsetX / canvas.clientWidth) * seconds);
      requestAnimationFrame(draw);
    });
    playing.media?.addEventListener("play", follow);
    playing.media?.addEventListener("seeked", draw);
    new ResizeObserver(draw).observe(canvas);
    document.addEventListener("affect:theme", function again() {
      if (canvas.isConnected) draw();
      else document.removeEventListener("affect:theme", again);
    });
    return figure;
  }

  return { player, waveform };
})();
