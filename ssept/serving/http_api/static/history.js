// The list of what was seen, shown with the newest first; the array has the newest last.

import { byId, described, element, nameOf } from "./dom.js";

const SHOWN = 8;

/** The list on the page; `changed()` is called after each change by a reader. */
export function historyList(changed) {
  const list = byId("seen");
  const more = byId("more");
  let items = [];
  let total = 0; // of the user, of whom `items` may be the newest only
  let all = false;

  function row(item, place) {
    const button = (action, sign, label, disabled) =>
      element("button", { type: "button", className: "icon", "data-action": action,
        "data-place": place, "aria-label": `${label} ${nameOf(item)}`, title: label, disabled }, sign);
    return element("li", {},
      element("span", { className: "item" }, ...described(item)),
      button("newer", "↑", "Move up", place === items.length - 1),
      button("remove", "×", "Remove", false));
  }

  function render() {
    const shown = all ? items.length : Math.min(SHOWN, items.length);
    const rows = [];
    for (let place = items.length - 1; place >= items.length - shown; place -= 1) {
      rows.push(row(items[place], place));
    }
    list.replaceChildren(...rows);
    byId("clear").disabled = items.length === 0;
    byId("seen-note").textContent = items.length
      ? total > items.length ? `The newest ${items.length} of ${total}.` : ""
      : "Nothing yet: add titles, or pick a user.";
    more.hidden = items.length <= SHOWN;
    more.textContent = all ? "Show fewer" : `Show all ${items.length}`;
    more.setAttribute("aria-expanded", String(all));
  }

  function focusOn(place, action) {
    const button = (name) =>
      list.querySelector(`[data-place="${place}"][data-action="${name}"]:not(:disabled)`);
    (button(action) ?? button("remove") ?? byId("title")).focus();
  }

  list.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const place = Number(button.dataset.place);
    const [item] = items.splice(place, 1);
    if (button.dataset.action === "newer") items.splice(place + 1, 0, item);
    else total = items.length;
    render();
    if (button.dataset.action === "newer") focusOn(place + 1, "newer");
    else focusOn(Math.max(place - 1, 0), "remove");
    changed();
  });
  more.addEventListener("click", () => {
    all = !all;
    render();
  });
  byId("clear").addEventListener("click", () => {
    items = [];
    total = 0;
    render();
    byId("title").focus();
    changed();
  });
  render();

  return {
    /** The ids in time order. */
    ids: () => items.map((item) => item.id),
    /** Show another user's items, of `count` in all. */
    replace(given, count) {
      items = [...given];
      total = count;
      all = false;
      render();
    },
    /** Put an item at the newest place. */
    add(item) {
      items.push(item);
      total += 1;
      render();
      changed();
    },
  };
}
