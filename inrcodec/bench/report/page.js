"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows.map((values) => Object.fromEntries(data.columns.map((name, k) => [name, values[k]])));
const hidden = new Set(); // indices of curves
const choice = { item: "", quality: "psnr", anchor: "" };
const dark = matchMedia("(prefers-color-scheme: dark)");
const touch = matchMedia("(pointer: coarse)");

const $ = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const distinct = (values) => [...new Set(values)];
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
const unit = data.unit.replaceAll("_", " ");
const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;"); // plotly reads tags
const digits = (value, n = 3) => Number(value.toPrecision(n)).toString();
const time = (seconds) => (seconds < 1 ? `${digits(seconds * 1000)} ms` : `${digits(seconds)} s`);

/* The points of a curve that hold for the choice, in order of rising rate. */
function points(curve) {
  if (!choice.item && choice.quality === "psnr") {
    return curve.rate.map((rate, k) => ({
      rate,
      quality: curve.psnr[k],
      point: curve.points[k],
      encode: curve.encode_seconds?.[k],
      decode: curve.decode_seconds?.[k],
    }));
  }
  if (curve.published) return [];
  const own = rated().filter((row) => row.codec === curve.codec && (!choice.item || row.item === choice.item));
  return distinct(own.map((row) => row.point))
    .map((point) => {
      const here = own.filter((row) => row.point === point);
      return {
        rate: mean(here.map((row) => row.metrics[data.unit])),
        quality: mean(here.map((row) => quality(row))),
        point,
        encode: mean(here.map((row) => row.encode_seconds)),
        decode: mean(here.map((row) => row.decode_seconds)),
      };
    })
    .sort((a, b) => a.rate - b.rate);
}

/* The rows that have the quality chosen: a small picture has no MS-SSIM, whatever the codec. */
function rated() {
  return rows.filter((row) => choice.quality in row.metrics);
}

/* dB; not finite where a row is lossless. */
function quality(row) {
  const value = row.metrics[choice.quality] ?? NaN;
  return choice.quality === "psnr" ? value : -10 * Math.log10(1 - value);
}

function hover(curve, p) {
  const lines = [
    `<b>${plain(curve.codec)}</b>`,
    `${digits(p.rate)} ${plain(unit)} · ${Number.isFinite(p.quality) ? `${p.quality.toFixed(2)} dB` : "lossless"}`,
  ];
  if (!curve.published) {
    lines.push(`point ${digits(p.point, 4)}`, `encode ${time(p.encode)} · decode ${time(p.decode)}`);
  }
  return lines.join("<br>");
}

function trace(curve, k, x, y, text, more = {}) {
  return {
    type: "scatter",
    mode: curve.marker ? "lines+markers" : "lines",
    name: plain(curve.codec),
    x,
    y,
    text,
    hovertemplate: "%{text}<extra></extra>",
    visible: !hidden.has(k),
    line: { color: curve.colour, width: curve.width, dash: curve.dash },
    marker: { color: curve.colour, symbol: curve.marker || "circle", size: curve.ours ? 9 : 7 },
    ...more,
  };
}

function layout(x, y, revision) {
  const axis = { gridcolor: colour("grid"), zeroline: false, tickfont: { size: 12 }, automargin: true };
  return {
    font: { family: "system-ui, sans-serif", color: colour("soft"), size: 12 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 44, r: 14, t: 30, b: 44 },
    showlegend: false,
    hovermode: "closest",
    dragmode: touch.matches ? false : "zoom", // a finger on the plot scrolls the page
    hoverlabel: { bgcolor: colour("panel"), font: { color: colour("ink"), size: 13 }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("ink") },
    uirevision: revision,
    xaxis: { ...axis, ...x },
    yaxis: { ...axis, ...y },
  };
}

const config = {
  responsive: true,
  displaylogo: false,
  displayModeBar: true,
  showTips: false,
  doubleClick: "reset",
  // named one by one, for plotly's own set holds one that sends the plot to a server
  modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]],
};

const rateAxis = (range) => ({
  type: "log",
  title: { text: `${plain(unit)}, logarithmic`, standoff: 8 },
  tickformat: "~g",
  range,
});

/* Labels at 1, 2, 5 or at the powers of ten; over less than one decade plotly's own choice reads best. */
function logStep([low, high]) {
  return high - low > 2.5 ? 1 : high - low >= 1 ? "D2" : null;
}

function plot(id, traces, axes) {
  const fresh = !$(id).data;
  Plotly.react(id, traces, axes, config);
  relabel($(id));
  if (fresh) $(id).on("plotly_relayout", () => relabel($(id)));
}

/* The labels that suit the range, which may be one that the reader zoomed to. */
function relabel(figure) {
  for (const name of ["xaxis", "yaxis"]) {
    const axis = figure.layout[name];
    const step = axis.type === "log" ? logStep(axis.range) : null;
    if ((axis.dtick ?? null) !== step) {
      Plotly.relayout(figure, { [`${name}.dtick`]: step, [`${name}.tickmode`]: step ? "linear" : "auto" });
    }
  }
}

/* The range around values, with a margin; of their logarithms where the axis is logarithmic. */
function around(values, share) {
  if (!values.length) return [0, 1];
  const low = Math.min(...values);
  const high = Math.max(...values);
  const room = share * (high - low) || share;
  return [low - room, high + room];
}

function drawRates() {
  const shown = data.curves.map((curve) => points(curve).filter((p) => p.rate > 0 && Number.isFinite(p.quality)));
  const measured = shown.filter((_, k) => !data.curves[k].published).flat();
  const all = measured.length ? measured : shown.flat();
  const traces = data.curves.map((curve, k) =>
    trace(
      curve,
      k,
      shown[k].map((p) => p.rate),
      shown[k].map((p) => p.quality),
      shown[k].map((p) => hover(curve, p)),
    ),
  );
  traces.sort((a, b) => a.line.width - b.line.width); // ours on top
  const x = rateAxis(around(all.map((p) => Math.log10(p.rate)), 0.03));
  const y = { range: around(all.map((p) => p.quality), 0.04), tickformat: "~g" };
  plot("rd", traces, layout(x, y, `${choice.item}/${choice.quality}`));
  const of = choice.item || `mean of ${distinct(rated().map((row) => row.item)).length} items`;
  $("rd-caption").textContent = `${choice.quality === "psnr" ? "PSNR" : "MS-SSIM"}, dB · ${of}`;
}

function drawSpeed(direction) {
  const seconds = (curve) => curve[`${direction}_seconds`] ?? [];
  const gain = (curve) =>
    curve.codec === choice.anchor ? 0 : data.bd_rate.find(([test, on]) => test === curve.codec && on === choice.anchor)?.[2];
  const traces = data.curves.map((curve, k) => {
    if (!choice.anchor) {
      const text = curve.rate.map((rate, n) =>
        hover(curve, {
          rate,
          quality: curve.psnr[n] ?? NaN,
          point: curve.points[n],
          encode: curve.encode_seconds?.[n],
          decode: curve.decode_seconds?.[n],
        }),
      );
      return trace(curve, k, seconds(curve).length ? curve.rate : [], seconds(curve), text);
    }
    const value = gain(curve);
    const known = value != null && seconds(curve).length;
    const typical = known ? median(seconds(curve)) : 0;
    const sign = value > 0 ? "+" : "";
    return trace(
      curve,
      k,
      known ? [value] : [],
      known ? [typical] : [],
      known ? [`<b>${plain(curve.codec)}</b><br>BD-rate ${sign}${value.toFixed(1)} %<br>${time(typical)}`] : [],
      { mode: "markers", marker: { color: curve.colour, symbol: curve.marker, size: curve.ours ? 15 : 11 } },
    );
  });
  const rates = rateAxis(around(data.curves.filter((c) => !c.published).flatMap((c) => c.rate).map(Math.log10), 0.03));
  const deltas = { title: { text: `BD-rate against ${plain(choice.anchor)}, %`, standoff: 8 }, tickformat: "~g", nticks: 6 };
  const range = around(traces.flatMap((t) => t.y).filter((s) => s > 0).map(Math.log10), 0.08);
  const y = { type: "log", tickformat: "~g", range };
  plot(direction, traces, layout(choice.anchor ? deltas : rates, y, choice.anchor));
}

function draw() {
  drawRates();
  drawSpeed("encode");
  drawSpeed("decode");
  for (const key of document.querySelectorAll(".key")) {
    key.setAttribute("aria-pressed", String(!hidden.has(Number(key.dataset.curve))));
  }
}

function fill(select, options) {
  select.replaceChildren(...options.map(([value, label]) => new Option(label, value)));
}

function controls() {
  const items = distinct(rows.map((row) => row.item));
  const split = rows.every((row) => data.unit in row.metrics);
  fill($("item"), [["", `Mean of ${items.length}`], ...(split ? items.map((item) => [item, item]) : [])]);
  $("quality").hidden = !(split && rows.some((row) => "ms_ssim" in row.metrics));
  const anchors = distinct(data.bd_rate.map(([, anchor]) => anchor));
  fill($("over"), [["", `Rate (${unit})`], ...anchors.map((name) => [name, `BD-rate against ${name}`])]);
  const choose = (key) => (event) => {
    choice[key] = event.target.value;
    draw();
  };
  $("item").addEventListener("change", choose("item"));
  $("quality").addEventListener("change", choose("quality"));
  $("over").addEventListener("change", choose("anchor"));
  for (const key of document.querySelectorAll(".key")) {
    const k = Number(key.dataset.curve);
    key.addEventListener("click", () => {
      if (!hidden.delete(k)) hidden.add(k);
      draw();
    });
    key.addEventListener("dblclick", () => {
      const alone = hidden.size === data.curves.length - 1 && !hidden.has(k);
      hidden.clear();
      if (!alone) data.curves.forEach((_, other) => other !== k && hidden.add(other));
      draw();
    });
  }
}

function compare() {
  const stage = $("stage");
  const divider = $("divider");
  const move = () => stage.style.setProperty("--at", `${divider.value}%`);
  const show = () => {
    const picture = data.pictures[$("picture").value];
    stage.style.aspectRatio = `${picture.width} / ${picture.height}`;
    const ratio = picture.width / picture.height;
    stage.parentElement.style.width = `min(100%, max(${picture.width}px, 40rem), ${85 * ratio}vh)`;
    stage.classList.toggle("enlarged", picture.width < 200);
    for (const side of ["left", "right"]) {
      const coded = picture.coded[$(side).value];
      const name = coded ? coded.codec : "original";
      const off = coded?.off ? `, ${coded.off > 0 ? "+" : "−"}${Math.abs(coded.off)} %: the nearest it reaches` : "";
      $(`${side}-image`).src = coded ? coded.image : picture.original;
      $(`${side}-image`).alt = `${picture.item}, ${name}`;
      const title = document.createElement("b");
      title.textContent = name;
      $(`${side}-facts`).replaceChildren(title, coded ? coded.facts + off : "as it is");
    }
  };
  fill($("picture"), data.pictures.map((picture, k) => [k, picture.item]));
  const codecs = data.pictures[0].coded.map((coded, k) => [k, coded.codec]);
  for (const side of ["left", "right"]) fill($(side), [["original", "original"], ...codecs]);
  const ours = codecs.findIndex(([, name]) => name.startsWith("inrcodec"));
  $("left").value = Math.max(ours, 0);
  $("right").value = codecs.length > 1 ? (Math.max(ours, 0) + 1) % codecs.length : "original";

  const drag = (event) => {
    const box = stage.getBoundingClientRect();
    divider.value = (100 * (event.clientX - box.left)) / box.width;
    move();
  };
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    divider.focus({ preventScroll: true });
    drag(event);
    event.preventDefault();
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && drag(event));
  divider.addEventListener("input", move);
  for (const id of ["picture", "left", "right"]) $(id).addEventListener("change", show);
  show();
  move();
}

controls();
draw();
dark.addEventListener("change", draw);
touch.addEventListener("change", draw);
if (data.pictures.length) compare();
