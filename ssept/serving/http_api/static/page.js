// The page: a user, their history, and what the served variants recommend for them.

import { ApiError, call, isAborted } from "./api.js";
import { suggestItems } from "./combobox.js";
import { byId, element, showError } from "./dom.js";
import { historyList } from "./history.js";
import { inMs, keepTime, showResults } from "./results.js";

const NO_USER = 0; // no data set has this id, and the model's user 0 is the average user
const MOST_SEEN = 500; // of a user's items, which leaves room for more within the API's limit
// Where the error of a part of the request is shown, and the field that it is about.
const FIELDS = {
  user_id: ["user-error", "user"],
  sequence: ["title-error", "title"],
  top_k: ["top-k-error", "top-k"],
  variant: ["variant-error", null],
  "": ["error", null],
};
const titles = new Map(); // items by id
let userId = NO_USER;
let asking = null; // the round under way
let looking = null; // the look-up of a user under way

const history = historyList(ask);

function add(item) {
  titles.set(item.id, item);
  history.add(item);
}

function showField(name, message) {
  const [place, field] = FIELDS[name] ?? FIELDS[""];
  showError(place, message, field && byId(field));
}

function wholeNumber(text, field) {
  const number = Number(text);
  if (text.trim() && Number.isSafeInteger(number)) return number;
  throw new ApiError("Expected a whole number.", field);
}

const chosenVariants = () =>
  [...byId("variants").querySelectorAll("input:checked")].map((input) => input.value);

/** Ask all chosen variants, one after the other so that none waits for another. */
async function ask() {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  for (const name of Object.keys(FIELDS)) showField(name, "");
  try {
    const variants = chosenVariants();
    if (!variants.length) throw new ApiError("Choose at least one variant.", "variant");
    const request = {
      user_id: userId,
      sequence: history.ids(),
      top_k: wholeNumber(byId("top-k").value, "top_k"),
      exclude_seen: byId("exclude").checked,
    };
    const results = [];
    for (const variant of variants) results.push(await answerOf(variant, request, signal));
    showResults(results, add);
    byId("status").textContent = summary(results);
  } catch (error) {
    if (isAborted(error)) return;
    if (!(error instanceof ApiError)) throw error;
    byId("status").textContent = "";
    showResults([], add); // nothing on the page is the answer to something else
    showField(error.field, error.message);
  }
}

async function answerOf(variant, request, signal) {
  const { answer, ms } = await call("predict", { body: { ...request, variant }, signal });
  keepTime(variant, ms);
  await learnTitles(answer.top_items, signal);
  return {
    variant,
    ms,
    items: answer.top_items.map((id) => titles.get(id) ?? { id, title: null, genres: [] }),
    scores: answer.scores,
    version: answer.model_version,
    known: answer.known_user,
  };
}

async function learnTitles(ids, signal) {
  const missing = ids.filter((id) => !titles.has(id));
  if (!missing.length) return;
  const query = new URLSearchParams(missing.map((id) => ["id", id]));
  const { answer } = await call(`items?${query}`, { signal });
  for (const item of answer.items) titles.set(item.id, item);
}

function summary(results) {
  const whom = results[0].known ? `user ${userId}` : "an average user";
  const parts = results.map(({ variant, ms }) => `${variant} in ${inMs(ms)}`);
  return `${results[0].items.length} recommendations for ${whom}: ${parts.join(", ")}.`;
}

/** Show a user and their history; NO_USER leaves the history as it is. */
async function showUser(id, signal) {
  let note = "No user: the answer is for an average user.";
  if (id !== NO_USER) {
    const { answer } = await call(`users/${id}?limit=${MOST_SEEN}`, { signal });
    const seen = answer.total === 1 ? "1 item" : `${answer.total || "no"} items`;
    note = answer.known
      ? `Known to the model, with ${seen} in the history.`
      : "Unknown user: the answer is for an average user.";
    for (const item of answer.history) titles.set(item.id, item);
    history.replace(answer.history, answer.total);
  }
  userId = id;
  byId("user-note").textContent = note;
  await ask();
}

async function showAnother(signal) {
  const { answer } = await call("users?limit=2", { signal });
  const id = answer.user_ids.find((one) => one !== userId) ?? userId;
  byId("user").value = id;
  await showUser(id, signal);
}

/** Run what a reader asked for in place of what is under way; errors are shown at the user's field. */
async function forUser(run) {
  looking?.abort();
  looking = new AbortController();
  showField("user_id", "");
  try {
    await run(looking.signal);
  } catch (error) {
    if (isAborted(error)) return;
    if (!(error instanceof ApiError)) throw error;
    showField("user_id", error.message);
  }
}

function showVariants(version) {
  const names = Object.keys(version.variants);
  byId("served").textContent = `Next items for a user · version ${version.ssept} on ${version.provider}`;
  const boxes = names.map((name, index) =>
    element("label", { className: "check" },
      element("input", { type: "checkbox", value: name, checked: index === 0 }), ` ${name}`));
  byId("variants").append(...boxes);
}

async function start() {
  byId("user-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("user").value;
    forUser((signal) => showUser(text.trim() ? wholeNumber(text, "user_id") : NO_USER, signal));
  });
  byId("another").addEventListener("click", () => forUser(showAnother));
  byId("options").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  byId("options").addEventListener("change", ask);
  suggestItems(add);
  await forUser(async (signal) => {
    const { answer } = await call("version", { signal });
    showVariants(answer);
    await showAnother(signal);
  });
}

start();
