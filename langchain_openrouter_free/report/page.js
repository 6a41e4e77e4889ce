"use strict";
// Draws the charts in the colours of the page; draws them anew when those change.
const charts = JSON.parse(document.getElementById("charts").textContent).filter((chart) => chart.name);
const darkness = window.matchMedia("(prefers-color-scheme: dark)");

function coloured(value, key) {
  if (Array.isArray(value)) return value.map((one) => coloured(one, key));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, coloured(one, name)]));
  }
  if (typeof value !== "string" || !/color$/.test(key)) return value;
  return getComputedStyle(document.documentElement).getPropertyValue("--" + value).trim() || value;
}

function axis(given) {
  return { gridcolor: "line", zerolinecolor: "line", linecolor: "line", automargin: true, fixedrange: true, ...given };
}

function draw() {
  for (const chart of charts) {
    const given = chart.layout;
    const layout = {
      paper_bgcolor: "clear", plot_bgcolor: "clear", margin: { l: 8, r: 12, t: 8, b: 32 },
      font: { family: "system-ui, sans-serif", size: 12, color: "muted" },
      legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { color: "text" } },
      hoverlabel: { bgcolor: "panel", bordercolor: "line", font: { color: "text" } },
      dragmode: false, ...given, xaxis: axis(given.xaxis), yaxis: axis(given.yaxis),
      ...(given.yaxis2 ? { yaxis2: axis(given.yaxis2) } : {}),
    };
    const place = document.getElementById("chart-" + chart.name);
    Plotly.react(place, coloured(chart.traces), coloured(layout), { responsive: true, displayModeBar: false });
  }
  document.documentElement.dataset.drawn = String(charts.length);
}

draw();
darkness.addEventListener("change", draw);
