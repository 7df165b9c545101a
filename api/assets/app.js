// The behavior of the dashboard's pages. Every page works without it, except for charts.
"use strict";

// The time zone of the reader, for days and hours. A link that names one keeps it.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const shownZone = document.documentElement.dataset.zone;
if (document.documentElement.dataset.zoned === "no" && zone !== shownZone) {
  const url = new URL(location.href);
  url.searchParams.set("tz", zone);
  location.replace(url);
}

// Requests of htmx carry the token that the server checks on every change.
document.addEventListener("htmx:configRequest", (event) => {
  const token = document.querySelector('meta[name="csrf"]');
  if (token) event.detail.headers["X-CSRF-Token"] = token.content;
});
document.addEventListener("htmx:responseError", (event) => announce(
  `The request failed (${event.detail.xhr.status}). Reload the page and try again.`));
document.addEventListener("htmx:sendError", () => announce("The server cannot be reached. Try again."));

function announce(text) {
  const place = document.getElementById("announcements");
  if (place) place.textContent = text;
}

// Times in the reader's zone, with UTC on hover.
function localizeTimes(root) {
  const format = new Intl.DateTimeFormat(undefined, {
    dateStyle: "medium", timeStyle: "short", timeZone: shownZone || zone,
  });
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const date = new Date(time.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    time.title = `${time.dateTime.replace("T", " ").replace(/(\.\d+)?Z$/, "")} UTC`;
    time.textContent = format.format(date);
  }
}

// Charts. Each is drawn from the table behind it.
const charts = [];
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// A series has the same color in every period.
const colorOf = (head) => style(`--series-${head.dataset.color || "other"}`);

function drawChart(figure) {
  const canvas = figure.querySelector("canvas");
  const table = figure.querySelector("table");
  if (!canvas || !table || typeof Chart === "undefined") return;
  const heads = [...table.tHead.rows[0].cells].slice(1);
  const rows = [...table.tBodies[0].rows];
  const labels = rows.map((row) => row.cells[0].textContent);
  const unit = figure.dataset.unit || "";
  const value = (number) => unit === "$"
    ? number.toLocaleString(undefined, { style: "currency", currency: "USD" })
    : number.toLocaleString();
  const datasets = heads.map((head, index) => ({
    label: head.textContent,
    data: rows.map((row) => Number(row.cells[index + 1].dataset.value || 0)),
    backgroundColor: colorOf(heads[index]),
    borderWidth: 0,
    maxBarThickness: 40,
  }));
  const text = style("--muted");
  const grid = style("--border");
  charts.push(new Chart(canvas, {
    type: "bar",
    data: { labels, datasets },
    options: {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "index", intersect: false },
      onClick: (_, elements) => {
        const link = elements.length && rows[elements[0].index].cells[0].querySelector("a");
        if (link) location.assign(link.href);
      },
      scales: {
        x: { stacked: true, ticks: { color: text, maxRotation: 0, autoSkipPadding: 12 }, grid: { display: false } },
        y: { stacked: true, beginAtZero: true, ticks: { color: text, callback: value }, grid: { color: grid }, border: { display: false } },
      },
      plugins: {
        legend: { display: heads.length > 1, position: "bottom", labels: { color: text, boxWidth: 12, boxHeight: 12 } },
        tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${value(item.parsed.y)}` }, filter: (item) => item.parsed.y !== 0 },
      },
    },
  }));
  figure.dataset.drawn = "yes";
}

function drawCharts(root) {
  for (const figure of root.querySelectorAll("figure[data-chart]:not([data-drawn])")) drawChart(figure);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  while (charts.length) charts.pop().destroy();
  for (const figure of document.querySelectorAll("figure[data-drawn]")) delete figure.dataset.drawn;
  drawCharts(document);
});

// Lists with keys: `j` and `k` move, and the items' buttons name their own keys.
function current(list) {
  const items = [...list.querySelectorAll("[data-item]")];
  return { items, index: items.findIndex((item) => item.contains(document.activeElement)) };
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not([type=checkbox]), select, textarea, [contenteditable]")) return;
  const list = document.querySelector("[data-keys]");
  if (list) {
    const { items, index } = current(list);
    const step = { j: 1, k: -1 }[event.key];
    if (step && items.length) {
      const next = items[Math.min(Math.max(index + step, 0), items.length - 1)];
      next.focus();
      next.scrollIntoView({ block: "nearest" });
      event.preventDefault();
      return;
    }
    const item = items[index];
    const button = item && item.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
    if (button) {
      button.click();
      event.preventDefault();
      return;
    }
  }
  const jump = document.querySelector(`a[data-key="${CSS.escape(event.key)}"], button[data-page-key="${CSS.escape(event.key)}"]`);
  if (jump) {
    jump.click();
    event.preventDefault();
  }
});

// Items with a checkbox are decided together.
document.addEventListener("change", (event) => {
  const form = event.target.form;
  if (!form || !form.matches("form[data-selection]")) return;
  const boxes = [...form.elements].filter((field) => field.name === "id");
  if (event.target.matches("[data-all]")) for (const box of boxes) box.checked = event.target.checked;
  showSelection(form);
});
function showSelection(form) {
  const boxes = [...form.elements].filter((field) => field.name === "id");
  const chosen = boxes.filter((box) => box.checked).length;
  form.querySelector("[data-chosen]").textContent = `${chosen} selected`;
  form.querySelector("[data-all]").checked = chosen > 0 && chosen === boxes.length;
  for (const button of form.querySelectorAll("button")) button.disabled = chosen === 0;
}

// After an item is decided, the next one gets the focus. Evidence is loaded into a part of an item.
document.addEventListener("htmx:beforeSwap", (event) => {
  const item = event.target;
  if (!item.matches || !item.matches("[data-item]")) return;
  const next = item.nextElementSibling || item.previousElementSibling;
  if (next && next.matches("[data-item]")) next.focus();
});

// A period is either a preset or two days.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-filters]");
  if (!form || !form.elements.range) return;
  const { range, since, until } = form.elements;
  if (event.target === range && range.value !== "days") {
    since.value = "";
    until.value = "";
  } else if (event.target === since || event.target === until) {
    range.value = "days";
  }
});

// A filter without a value stays out of the address.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-filters]")) return;
  for (const field of event.target.elements) {
    if (field.name && field.value === "") field.disabled = true;
  }
});
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-filters] :disabled")) field.disabled = false;
});

// Where the reader is in a transcript, as a line. A line that was read in part is before it, and one
// that is still below is after it. After a jump, it is the line of the jump.
function currentLine() {
  const jumped = document.getElementById(location.hash.slice(1));
  if (/^#L\d+$/.test(location.hash) && jumped) {
    const { top } = jumped.getBoundingClientRect();
    if (top > -80 && top < innerHeight / 2) return Number(location.hash.slice(2));
  }
  const shown = [...document.querySelectorAll(".transcript > [id^=L]")];
  const first = shown.find((entry) => entry.getBoundingClientRect().bottom > 100);
  if (!first) return shown.length ? Infinity : 0;
  const isBegun = first.getBoundingClientRect().top < 100;
  return Number(first.id.slice(1)) + (isBegun ? 0.5 : -0.5);
}

// Links to the prompts, errors, compactions and sub-agents of a transcript go to the next or the
// previous one from here, and load another page of the transcript if necessary.
document.addEventListener("click", (event) => {
  const jump = event.target.closest("a[data-jump]");
  if (!jump || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const lines = jump.closest("[data-lines]").dataset.lines.split(" ").map(Number);
  const here = currentLine();
  const line = jump.dataset.jump === "next"
    ? lines.find((line) => line > here) ?? lines[0]
    : lines.findLast((line) => line < here) ?? lines[lines.length - 1];
  event.preventDefault();
  if (document.getElementById(`L${line}`)) {
    history.replaceState(null, "", `#L${line}`);
    openTarget();
    announce(`Line ${line}`);
    return;
  }
  const url = new URL(location.href);
  url.searchParams.set("after", line - 1);
  url.hash = `L${line}`;
  location.assign(url);
});

// A menu of the page opens the details of an address like `#L120`.
function openTarget() {
  // Ids are ASCII, so there is nothing to decode. An address can have any text here.
  const id = location.hash.slice(1);
  const target = id && document.getElementById(id);
  if (!target) return;
  for (let box = target; box; box = box.parentElement) {
    if (box.tagName === "DETAILS") box.open = true;
  }
  target.scrollIntoView();
}
addEventListener("hashchange", openTarget);

function enhance(root) {
  for (const form of document.querySelectorAll("form[data-selection]")) showSelection(form);
  localizeTimes(root);
  drawCharts(root);
}
document.addEventListener("htmx:load", (event) => enhance(event.detail.elt));
enhance(document);
openTarget();
