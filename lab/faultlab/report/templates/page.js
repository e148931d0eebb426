"use strict";
// What a page does by itself: the theme, the plots, and the ladder that shows a finding's packets.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // -- theme: the system's, until the button says otherwise
  const theme = document.getElementById("theme");
  const preferDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (preferDark.matches ? "dark" : "light")) === "dark";
  const themed = () => {
    theme.setAttribute("aria-pressed", String(isDark()));
    drawPlots();
  };
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    themed();
  });
  preferDark.addEventListener("change", themed);
  matchMedia("print").addEventListener("change", () => drawPlots()); // paper is light

  // -- plots: the style sheet has the colours, a figure only their names
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name) => {
    probe.style.color = name;
    return getComputedStyle(probe).color;
  };
  const coloured = (value) => {
    if (typeof value === "string") return value.startsWith("var(--") ? colour(value) : value;
    if (Array.isArray(value)) return typeof value[0] === "number" ? value : value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one)]));
  };
  const axis = {
    gridcolor: "var(--grid)", linecolor: "var(--line)", zerolinecolor: "var(--line)", tickcolor: "var(--line)",
    automargin: true, title: { standoff: 8 },
  };
  const config = {
    responsive: true, displaylogo: false, scrollZoom: false, displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["sendDataToCloud", "lasso2d", "select2d"], showSendToCloud: false, plotlyServerURL: "",
  };
  const draw = (figure) => {
    const id = figure.dataset.figure;
    const { traces, layout } = coloured(JSON.parse(document.getElementById(`data-${id}`).textContent));
    for (const key of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      layout[key] = { ...coloured(axis), ...layout[key], title: { ...axis.title, ...layout[key].title } };
    }
    const whole = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: colour("var(--ink)") },
      margin: { l: 52, r: 12, t: 12, b: 44 }, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
      hoverlabel: { bgcolor: colour("var(--card)"), bordercolor: colour("var(--line)"), font: { color: colour("var(--ink)") } },
      ...layout,
    };
    return Plotly.react(`plot-${id}`, traces, whole, config);
  };
  function drawPlots() {
    // One at a time, so that the page answers between them; `data-drawn` tells that it is there.
    all("figure.plot").reduce(
      (before, figure) => before.then(() => draw(figure)).then(() => { figure.dataset.drawn = isDark() ? "dark" : "light"; }),
      Promise.resolve(),
    );
  }

  // -- ladder: zoom
  const WIDTH = 1100, LIFELINE = 360, LEAST = 0.3, MOST = 2.5; // as lab/report/ladder_svg.py draws
  const ladders = all("figure.ladder").map((figure) => {
    const box = figure.querySelector(".ladder-box");
    const ladder = { figure, box, pictures: all("svg", box), scale: 1 };
    ladder.zoom = (scale) => {
      const kept = (box.scrollTop + box.clientHeight / 2) / ladder.scale;
      ladder.scale = Math.min(MOST, Math.max(LEAST, scale));
      for (const picture of ladder.pictures) picture.style.width = `${WIDTH * ladder.scale}px`;
      box.scrollTop = kept * ladder.scale - box.clientHeight / 2;
      box.dataset.scale = ladder.scale.toFixed(3);
    };
    ladder.usual = () => Math.max(0.75, Math.min(1.25, box.clientWidth / WIDTH));
    // In a narrow box one side's words are in sight, those of whoever sends.
    ladder.aside = (side = "left") => {
      const left = LIFELINE * ladder.scale - box.clientWidth * 0.62;
      return side === "left" ? left : WIDTH * ladder.scale - box.clientWidth - left;
    };
    ladder.reset = () => {
      ladder.zoom(ladder.usual());
      box.scrollTo({ top: 0, left: ladder.aside() });
    };
    const zooms = { in: () => ladder.zoom(ladder.scale * 1.25), out: () => ladder.zoom(ladder.scale / 1.25), fit: ladder.reset };
    for (const button of all("[data-zoom]", figure)) button.addEventListener("click", zooms[button.dataset.zoom]);
    box.addEventListener("keydown", (event) => {
      const act = { "+": zooms.in, "=": zooms.in, "-": zooms.out, "0": zooms.fit }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    ladder.reset();
    return ladder;
  });

  // Show these steps: as near as they all fit, and no nearer than one reads well.
  const show = (ladder, steps, scale = ladder.scale) => {
    ladder.zoom(scale);
    const top = Math.min(...steps.map((step) => Number(step.dataset.top))) * ladder.scale;
    const bottom = Math.max(...steps.map((step) => Number(step.dataset.bottom))) * ladder.scale;
    const room = ladder.box.clientHeight - 40;
    const middle = Math.max(0, (room - (bottom - top)) / 2);
    ladder.box.scrollTo({
      top: top - Math.max(24, middle), left: ladder.aside(steps[0].dataset.side),
    });
  };
  const fitting = (ladder, steps) => {
    const span = Math.max(...steps.map((step) => Number(step.dataset.bottom)))
      - Math.min(...steps.map((step) => Number(step.dataset.top)));
    const fits = (ladder.box.clientHeight - 90) / Math.max(1, span);
    return Math.min(ladder.usual(), Math.max(0.75 * ladder.usual(), fits));
  };

  // -- ladder: the packets of a finding
  const chosen = document.getElementById("chosen");
  const clear = () => {
    for (const one of all(".lit, .now")) one.classList.remove("lit", "now");
    for (const one of all("[data-packets]")) one.setAttribute("aria-pressed", "false");
    for (const { box } of ladders) box.classList.remove("some-lit");
    chosen.hidden = true;
  };
  const choose = (button) => {
    clear();
    button.setAttribute("aria-pressed", "true");
    const wanted = new Set(button.dataset.packets.split(" "));
    const found = ladders
      .map((ladder) => ({ ladder, steps: all(".step", ladder.box).filter((step) => wanted.has(step.dataset.packet)) }))
      .filter(({ steps }) => steps.length > 0);
    for (const { ladder, steps } of found) {
      ladder.box.classList.add("some-lit");
      for (const step of steps) step.classList.add("lit");
      show(ladder, steps, fitting(ladder, steps));
    }
    for (const row of all("tr[data-packet]")) row.classList.toggle("lit", wanted.has(row.dataset.packet));
    const text = button.querySelector(".text") ?? button.closest("li").querySelector(".asked");
    document.getElementById("chosen-text").textContent = text.textContent.trim();
    document.getElementById("chosen-packets").replaceChildren(...found.flatMap(({ ladder, steps }) => steps.slice(0, 12).map((step) => {
      const link = document.createElement("button");
      link.type = "button";
      link.textContent = step.dataset.frame;
      link.title = step.querySelector("title").textContent;
      link.addEventListener("click", () => {
        for (const one of all(".now")) one.classList.remove("now");
        step.classList.add("now");
        show(ladder, [step]);
      });
      return link;
    })));
    chosen.hidden = false;
    const target = found[0]?.ladder;
    if (target) target.figure.style.scrollMarginTop = `${chosen.offsetHeight + 12}px`;
    (target ? target.figure : chosen).scrollIntoView({ block: "start" });
    target?.box.focus({ preventScroll: true });
  };
  for (const button of all("[data-packets]")) button.addEventListener("click", () => choose(button));
  document.getElementById("chosen-clear")?.addEventListener("click", clear);

  themed();
})();
