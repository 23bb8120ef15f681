"use strict";
const form = document.getElementById("filter");
const OPTIONS = {
  actions: false,
  ast: true, // without code made at run time, which the page's policy forbids
  config: JSON.parse(document.getElementById("look").textContent),
  logLevel: 1, // errors; Vega also warns of a layer without data, as after a choice of cells
  renderer: "svg",
};
const drawn = new Map();

/** Names that are chosen of a kind; all of them where there is no filter. */
function chosen(kind) {
  const boxes = form ? [...form.querySelectorAll(`input[name=${kind}]`)] : [];
  return new Set(boxes.filter((box) => box.checked).map((box) => box.value));
}

/** A function that says of a row or mark whether it is shown. */
function filter() {
  if (!form) return () => true;
  const [variants, providers] = [chosen("variant"), chosen("provider")];
  const all = new Map([...form.querySelectorAll("input")].map((box) => [`${box.name} ${box.value}`, true]));
  const passes = (kind, name, names) => !all.has(`${kind} ${name}`) || names.has(name);
  return (one) => passes("variant", one.variant, variants) && passes("provider", one.provider, providers);
}

async function draw(place, shows) {
  const figure = place.closest("figure");
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const marks = spec.datasets.cells = spec.datasets.cells.filter(shows);
  const { lineHeight } = spec.usermeta;
  if (lineHeight) {
    spec.height = lineHeight * new Set(marks.map((one) => one.label)).size;
  }
  const empty = marks.length === 0;
  place.parentElement.hidden = empty;
  figure.querySelector(".none").hidden = !empty;
  drawn.get(place)?.finalize();
  drawn.delete(place);
  if (empty) return;
  drawn.set(place, await vegaEmbed(place, spec, OPTIONS));
}

async function show() {
  const shows = filter();
  for (const row of document.querySelectorAll("tbody tr")) row.hidden = !shows(row.dataset);
  for (const place of document.querySelectorAll(".plot")) await draw(place, shows);
  if (form) {
    const cells = new Set(), shown = new Set();
    for (const row of document.querySelectorAll("section:not(#unmeasured) tr[data-variant][data-provider]")) {
      const cell = `${row.dataset.variant} ${row.dataset.provider}`;
      cells.add(cell);
      if (!row.hidden) shown.add(cell);
    }
    document.getElementById("shown").textContent = `${shown.size} of ${cells.size} shown`;
  }
  document.documentElement.dataset.drawn = drawn.size;
}

let last = Promise.resolve();
const refresh = () => { last = last.then(show); };
if (form) {
  document.getElementById("choice").hidden = false;
  form.addEventListener("change", refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("all").addEventListener("click", () => {
    for (const box of form.querySelectorAll("input")) box.checked = true;
    refresh();
  });
}
// A printed page shows every table.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
refresh();
