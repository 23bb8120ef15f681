// Small helpers around the document.

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** A new element. Children are elements or text; text is never read as HTML. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** What an item is called. */
export const nameOf = (item) => item.title ?? `Item ${item.id}`;

/** The small line below an item's name. */
export const detailOf = (item) =>
  [...item.genres, ...(item.title === null ? [] : [`id\u00a0${item.id}`])].join(" · ");

/** An item's name, with the small line below it. */
export function described(item) {
  return [
    element("span", { className: "name" }, nameOf(item)),
    element("span", { className: "muted detail" }, detailOf(item)),
  ];
}

/** Show or clear the error of a field. */
export function showError(id, message, field) {
  byId(id).textContent = message;
  field?.setAttribute("aria-invalid", String(message !== ""));
}
