// The answers of the variants, side by side.

import { byId, described, element, nameOf } from "./dom.js";

const KEPT = 9; // times of each variant, for the median
const times = new Map();

/** Keep the time of an answer. */
export function keepTime(variant, ms) {
  times.set(variant, [...(times.get(variant) ?? []), ms].slice(-KEPT));
}

/** A time as text. */
export const inMs = (ms) => `${ms.toFixed(ms < 100 ? 1 : 0)}\u00a0ms`;

/** Show the answers, each {variant, items, scores, version, known, ms}; `add(item)` takes one. */
export function showResults(results, add) {
  const columns = byId("columns");
  const focus = focused(columns);
  columns.replaceChildren(...results.map((result, index) => column(result, index, results, add)));
  if (focus) {
    const buttons = columns.children[focus.column]?.querySelectorAll("button") ?? [];
    (buttons[Math.min(focus.row, buttons.length - 1)] ?? byId("recommendations")).focus();
  }
}

/** Which row's button has the focus, so that it stays there when the rows are made anew. */
function focused(columns) {
  const column = [...columns.children].findIndex((one) => one.contains(document.activeElement));
  if (column < 0) return null;
  const buttons = [...columns.children[column].querySelectorAll("button")];
  return { column, row: buttons.indexOf(document.activeElement) };
}

function column(result, index, results, add) {
  const heading = `variant-${index}`;
  const several = results.length > 1;
  const rows = result.items.map((item, rank) => {
    const cells = [
      element("td", { className: "number" }, String(rank + 1)),
      element("td", { className: "item" }, ...described(item)),
      element("td", { className: "number" }, result.scores[rank].toFixed(3),
        ...(several ? [mark(item, rank, index, results)] : [])),
    ];
    const label = `Add ${nameOf(item)} to the history`;
    const button = element("button",
      { type: "button", className: "icon", "aria-label": label, title: label }, "+");
    button.addEventListener("click", () => add(item));
    cells.push(element("td", {}, button));
    return element("tr", { "data-item": item.id }, ...cells);
  });
  const names = ["Rank", "Title and genres", "Score"].map((name) =>
    element("th", { scope: "col" }, name));
  names.push(element("th", { scope: "col" }, element("span", { className: "hidden" }, "Add")));
  return element("article", { "aria-labelledby": heading, "data-variant": result.variant },
    element("h3", { id: heading }, result.variant),
    element("p", { className: "muted version" }, result.version),
    latency(result),
    ...(several ? [shared(result, index, results)] : []),
    element("table", { "aria-labelledby": heading },
      element("thead", {}, element("tr", {}, ...names)),
      element("tbody", {}, ...rows)));
}

function latency(result) {
  const kept = times.get(result.variant);
  const sorted = [...kept].sort((a, b) => a - b);
  const middle = (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
  const line = element("p", { className: "latency" }, element("strong", {}, inMs(result.ms)), " round trip");
  if (kept.length > 1) line.append(`, median of the last ${kept.length}: ${inMs(middle)}`);
  return line;
}

/** Of how much the first column and this one agree. */
function shared(result, index, [first]) {
  const ids = new Set(first.items.map((item) => item.id));
  const count = result.items.filter((item) => ids.has(item.id)).length;
  const text = index
    ? `${count} of ${result.items.length} are also in ${first.variant}`
    : "The other variants are compared with this one";
  return element("p", { className: "muted" }, text);
}

/** The position of an item in the first column, or whether the first column's is in another one. */
function mark(item, rank, index, results) {
  const rankIn = (result) => result.items.findIndex((one) => one.id === item.id);
  let text;
  let kind = "moved";
  if (index === 0) {
    const elsewhere = results.slice(1).some((result) => rankIn(result) >= 0);
    [text, kind] = elsewhere ? ["shared", "same"] : ["only here", "alone"];
  } else {
    const before = rankIn(results[0]);
    if (before < 0) [text, kind] = ["new", "alone"];
    else if (before === rank) [text, kind] = ["same", "same"];
    else text = before > rank ? `▲ up ${before - rank}` : `▼ down ${rank - before}`;
  }
  return element("span", { className: `mark ${kind}` }, text);
}
