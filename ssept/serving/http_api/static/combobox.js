// A text field with suggestions, after the ARIA pattern "editable combobox with list autocomplete":
// the focus stays in the field, and the arrow keys move the active option.

import { call, isAborted } from "./api.js";
import { byId, described, element, showError } from "./dom.js";

const SHOWN = 8;

/** Suggest items for what is typed into the field; `choose(item)` gets the one that is taken. */
export function suggestItems(choose) {
  const input = byId("title");
  const list = byId("suggestions");
  const note = byId("title-note");
  const hint = note.textContent;
  let items = [];
  let active = -1;
  let request = null; // the one under way
  let chooseFirst = false; // Enter was faster than the answer

  function close() {
    request?.abort();
    request = null;
    chooseFirst = false;
    items = [];
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    note.textContent = hint;
  }

  function activate(index) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = index;
    const option = list.children[index];
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", option.id);
  }

  function take(index) {
    const item = items[index];
    input.value = "";
    close();
    choose(item);
  }

  function open(found) {
    items = found;
    active = -1;
    const options = items.map((item, index) =>
      element("li", { id: `suggestion-${index}`, role: "option" }, ...described(item)),
    );
    list.replaceChildren(...options);
    list.hidden = items.length === 0;
    input.setAttribute("aria-expanded", String(items.length > 0));
    note.textContent = items.length
      ? `${items.length === SHOWN ? "The best " : ""}${items.length} found: select with the arrow keys, add with Enter.`
      : "No matching titles.";
    if (items.length) activate(0);
    else input.removeAttribute("aria-activedescendant");
  }

  async function search() {
    request?.abort();
    const own = new AbortController();
    request = own;
    showError("title-error", "", input);
    const query = new URLSearchParams({ query: input.value, limit: SHOWN });
    try {
      const { answer } = await call(`items?${query}`, { signal: own.signal });
      request = null;
      open(answer.items);
      if (chooseFirst && items.length) take(0);
      chooseFirst = false;
    } catch (error) {
      if (isAborted(error)) return;
      close();
      showError("title-error", error.message, input);
    }
  }

  input.addEventListener("input", () => (input.value.trim() ? search() : close()));
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (items.length) activate((active + step + items.length) % items.length);
      else search();
    } else if (event.key === "Enter") {
      if (request) chooseFirst = true;
      else if (items.length) take(active);
    } else if (event.key === "Escape") {
      if (list.hidden) input.value = "";
      close();
    }
  });
  list.addEventListener("pointerdown", (event) => event.preventDefault()); // keep the focus
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) take([...list.children].indexOf(option));
  });
}
