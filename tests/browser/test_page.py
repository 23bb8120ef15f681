"""The page at / in Chromium."""

import re

import pytest

pytest.importorskip("selenium", reason="selenium is not installed: see `tox -e browser`")

from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from tests.browser.chromium import prefer, resize
from tests.browser.page import Page
from tests.helpers.servers.titled import TITLES

FIRST, SECOND = "fused_topk", "fused_int8_topk"


def test_it_begins_with_some_user_and_recommendations(page: Page) -> None:
    user = int(page.find("#user").get_attribute("value"))
    ids = page.history(user)
    assert page.rows(FIRST) == page.predict(user, ids, FIRST)
    assert f"with {len(ids)} items" in page.text("#user-note")
    assert "version" in page.text("#served")
    assert re.match(r"tiny-[0-9a-f]{12}$", page.text(".version"))
    assert re.match(r"\d+(\.\d)?\sms round trip$", page.text(".latency"))
    cells = page.texts("tbody tr:first-child td")
    assert cells[0] == "1"
    assert re.match(r"-?\d+\.\d{3}$", cells[2])
    assert re.search(rf"10 recommendations for user {user}: {FIRST} in \d", page.text("#status"))


def test_another_user_is_shown_with_their_history(page: Page) -> None:
    page.type_user("7")
    page.wait(lambda: "user 7:" in page.text("#status"))
    ids = page.history(7)
    page.find("#more").click()
    assert len(page.seen()) == len(ids)
    assert page.rows(FIRST) == page.predict(7, ids, FIRST)
    page.find("#another").click()
    page.wait(lambda: "user 7:" not in page.text("#status") or page.text("#status") == "")
    assert page.find("#user").get_attribute("value").isdigit()


def test_titles_are_searched_chosen_and_removed(page: Page) -> None:
    page.find("#clear").click()
    page.wait(lambda: page.text("#seen-note").startswith("Nothing yet"))
    field = page.find("#title")
    assert page.focus == field
    field.send_keys("harbour")
    page.wait(lambda: field.get_attribute("aria-expanded") == "true")
    options = page.texts("[role=option] .name")
    assert options == [TITLES[2][0], TITLES[3][0]]
    field.send_keys(Keys.ARROW_DOWN)
    active = page.find(f"#{field.get_attribute('aria-activedescendant')}")
    assert active.get_attribute("aria-selected") == "true"
    assert active.text.startswith(TITLES[3][0])
    field.send_keys(Keys.ENTER)
    page.wait(lambda: page.seen() == [TITLES[3][0]])
    assert field.get_attribute("value") == ""
    assert not page.find("#suggestions").is_displayed()
    user = int(page.find("#user").get_attribute("value"))
    page.wait(lambda: page.rows(FIRST) == page.predict(user, [3], FIRST))

    field.send_keys("ete lodz" + Keys.ENTER)  # Enter is faster than the answer
    page.wait(lambda: page.seen() == [TITLES[1][0], TITLES[3][0]])
    page.wait(lambda: page.rows(FIRST) == page.predict(user, [3, 1], FIRST))
    page.find("[data-place='0'][data-action=newer]").click()
    assert page.seen() == [TITLES[3][0], TITLES[1][0]]
    page.find("[data-place='1'][data-action=remove]").click()
    assert page.seen() == [TITLES[1][0]]
    page.wait(lambda: page.rows(FIRST) == page.predict(user, [1], FIRST))


def test_a_recommended_title_is_added_by_the_mouse(page: Page) -> None:
    chosen = page.texts("tbody .name")[2]
    page.find("tbody tr:nth-child(3) button").click()
    page.wait(lambda: page.seen()[0] == chosen)
    page.wait(lambda: chosen not in page.texts("tbody .name"))
    page.find("#title").send_keys("bold")
    page.wait(lambda: page.all("[role=option]"))[0].click()
    page.wait(lambda: page.seen()[0] == TITLES[4][0])


def test_escape_and_no_hits(page: Page) -> None:
    field = page.find("#title")
    field.send_keys("harbour")
    page.wait(lambda: page.all("[role=option]"))
    field.send_keys(Keys.ESCAPE)
    assert not page.all("[role=option]")
    assert field.get_attribute("aria-expanded") == "false"
    assert field.get_attribute("value") == "harbour"
    field.send_keys(" none")
    page.wait(lambda: page.text("#title-note") == "No matching titles.")
    field.send_keys(Keys.ESCAPE)
    assert field.get_attribute("value") == ""


def test_variants_stand_side_by_side(page: Page) -> None:
    page.type_user("7")
    page.wait(lambda: "user 7:" in page.text("#status"))
    page.type("#top-k", "100" + Keys.ENTER)  # far down the ranks differ
    page.find(f"input[value={SECOND}]").click()
    page.wait(lambda: len(page.rows(SECOND)) == 100)
    ids = page.history(7)
    first, second = (page.predict(7, ids, variant, 100) for variant in (FIRST, SECOND))
    assert (page.rows(FIRST), page.rows(SECOND)) == (first, second)
    assert page.marks(FIRST) == ["shared" if item in second else "only here" for item in first]
    expected = []
    for rank, item in enumerate(second):
        up = first.index(item) - rank if item in first else None
        moved = f"▲ up {up}" if (up or 0) > 0 else f"▼ down {-(up or 0)}"
        expected.append("new" if up is None else "same" if up == 0 else moved)
    assert page.marks(SECOND) == expected
    assert set(expected) != {"same"}  # else nothing was compared
    left, right = (article.rect for article in page.all("article"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]

    page.find("#options button").click()
    page.wait(lambda: "median of the last" in page.texts(".latency")[1])
    page.find(f"input[value={FIRST}]").click()
    page.wait(lambda: not page.rows(FIRST))
    assert page.rows(SECOND) == second
    assert page.marks(SECOND) == []


def test_the_keyboard_is_enough(page: Page) -> None:
    page.keys(Keys.TAB)
    assert page.focus.text == "Skip to the recommendations"
    while page.focus.get_attribute("id") != "user":
        page.keys(Keys.TAB)
    page.keys("12", Keys.ENTER)  # in place of what it held, which Tab has selected
    page.wait(lambda: "user 12:" in page.text("#status"))
    while page.focus.get_attribute("id") != "title":
        page.keys(Keys.TAB)
    page.keys("harbour")
    page.wait(lambda: page.all("[role=option]"))
    page.keys(Keys.ARROW_UP, Keys.ENTER)
    page.wait(lambda: page.seen()[0] == TITLES[3][0])
    ids = [*page.history(12), 3]
    page.wait(lambda: page.rows(FIRST) == page.predict(12, ids, FIRST))

    steps = 0
    while page.focus.get_attribute("value") != SECOND:
        outline = page.focus.value_of_css_property("outline-style")
        assert outline != "none", page.focus.get_attribute("outerHTML")
        page.keys(Keys.TAB)
        steps += 1
        assert steps < 60
    page.keys(Keys.SPACE)
    page.wait(lambda: page.rows(SECOND) == page.predict(12, ids, SECOND))
    best = page.texts("tbody .name")[0]
    while page.focus.get_attribute("aria-label") != f"Add {best} to the history":
        page.keys(Keys.TAB)
    before = page.rows(FIRST)
    page.keys(Keys.ENTER)
    page.wait(lambda: page.rows(FIRST) != before)
    # The focus stays in the row, whose button now adds another title.
    assert page.focus.get_attribute("aria-label").startswith("Add ")


def test_removing_by_keyboard_keeps_the_focus_in_the_list(page: Page) -> None:
    page.type_user("7")
    page.wait(lambda: "user 7:" in page.text("#status"))
    names = page.seen()
    page.find("#seen li:nth-child(2) [data-action=remove]").send_keys(Keys.ENTER)
    page.wait(lambda: page.seen()[1] == names[2])
    assert page.focus.get_attribute("aria-label") == f"Remove {names[2]}"


def test_an_unknown_user_is_told(page: Page) -> None:
    page.type_user("4000")
    page.wait(lambda: "an average user:" in page.text("#status"))
    assert page.text("#user-note").startswith("Unknown user")
    assert page.rows(FIRST) == page.predict(4000, [], FIRST)
    page.type_user("")
    page.wait(lambda: page.text("#user-note").startswith("No user"))


def test_errors_stand_at_their_field(page: Page) -> None:
    page.noise.add("network")
    page.type_user("seven")
    page.wait(lambda: page.text("#user-error") == "Expected a whole number.")
    field = page.find("#user")
    assert field.get_attribute("aria-invalid") == "true"
    assert "user-error" in field.get_attribute("aria-describedby")
    page.type_user("7")
    page.wait(lambda: "user 7:" in page.text("#status"))
    assert page.text("#user-error") == ""
    assert field.get_attribute("aria-invalid") == "false"

    page.type("#top-k", "1000" + Keys.ENTER)
    page.wait(lambda: "at most 100" in page.text("#top-k-error"))
    assert page.find("#top-k").get_attribute("aria-invalid") == "true"
    assert page.rows(FIRST) == []
    page.type("#top-k", "3" + Keys.ENTER)
    page.wait(lambda: len(page.rows(FIRST)) == 3)
    assert page.text("#top-k-error") == ""

    page.find(f"input[value={FIRST}]").click()
    page.wait(lambda: page.text("#variant-error") == "Choose at least one variant.")


def test_a_server_that_is_gone_is_told_and_asked_again(page: Page) -> None:
    page.noise.add("network")
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    command = "Network.emulateNetworkConditions"
    page.chrome.execute_cdp_cmd("Network.enable", {})
    page.chrome.execute_cdp_cmd(command, conditions | {"offline": True})
    try:
        page.find("#options button").click()
        page.wait(lambda: page.text("#error") == "The server does not answer.")
        page.find("#title").send_keys("h")
        page.wait(lambda: page.text("#title-error") == "The server does not answer.")
        page.find("#another").click()
        page.wait(lambda: page.text("#user-error") == "The server does not answer.")
    finally:
        page.chrome.execute_cdp_cmd(command, conditions | {"offline": False})
    page.find("#options button").click()
    page.wait(lambda: page.rows(FIRST))
    assert page.text("#error") == ""


HELD = """
const original = window.fetch;
window.held = window.settled = 0;
const gate = new Promise((open) => { window.release = open; });
window.fetch = async (path, request) => {
  if (String(path).startsWith(arguments[0])) {
    window.fetch = original;
    window.held = 1;
    await gate;
    try { return await original(path, request); } finally { window.settled += 1; }
  }
  return original(path, request);
};
"""


@pytest.mark.parametrize("path", ["predict", "users/7"])
def test_a_slow_answer_does_not_overwrite_a_newer_one(page: Page, path: str) -> None:
    page.chrome.execute_script(HELD, path)
    page.type_user("7")
    page.wait(lambda: page.chrome.execute_script("return window.held") == 1)
    page.type_user("12")
    page.wait(lambda: "user 12:" in page.text("#status"))
    expected = page.predict(12, page.history(12), FIRST)
    assert page.rows(FIRST) == expected
    page.chrome.execute_script("window.release()")
    page.wait(lambda: page.chrome.execute_script("return window.settled") == 1)
    page.chrome.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
    )
    assert "user 12:" in page.text("#status")
    assert page.rows(FIRST) == expected


def test_titles_are_text(page: Page) -> None:
    page.find("#title").send_keys("bold")
    page.wait(lambda: page.all("[role=option]"))
    assert page.texts("[role=option] .name") == [TITLES[4][0]]
    page.keys(Keys.ENTER)
    page.wait(lambda: page.seen()[0] == TITLES[4][0])
    assert not page.all("main b")


# What reaches out of its box to the right.
OUTSIDE = """
return [...document.querySelectorAll("section *")].filter((one) => one.checkVisibility()
  && one.getBoundingClientRect().right > one.closest("section").getBoundingClientRect().right)
  .map((one) => one.outerHTML);
"""


@pytest.mark.parametrize("size", [(360, 740), (1200, 900), (840, 700)])
def test_nothing_needs_scrolling_sideways(page: Page, size: tuple[int, int]) -> None:
    resize(page.chrome, *size)
    width = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.chrome.execute_script("return innerWidth") == size[0]
    assert page.chrome.execute_script(width) == 0
    page.find("#title").send_keys("s")
    page.wait(lambda: page.all("[role=option]"))
    assert page.chrome.execute_script(width) == 0
    page.keys(Keys.ESCAPE)
    page.find(f"input[value={SECOND}]").click()
    page.wait(lambda: page.rows(SECOND))
    assert page.chrome.execute_script(width) == 0
    assert page.chrome.execute_script(OUTSIDE) == []


def test_everything_has_a_name_and_a_role(page: Page) -> None:
    page.find(f"input[value={SECOND}]").click()
    page.wait(lambda: page.rows(SECOND))
    page.find("#title").send_keys("harbour")
    page.wait(lambda: page.all("[role=option]"))
    for control in page.all("input, button, a, article, fieldset, ol, nav, table, [role=listbox]"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
    names = [button.accessible_name for button in page.all("tbody button, #seen button")]
    assert len(set(names)) >= len(names) / 2  # an item may stand in both columns
    assert [page.find(f"#{name}").aria_role for name in ("title", "suggestions", "status")] == [
        "combobox",
        "listbox",
        "status",
    ]
    assert [one.text for one in page.all("h1, h2")] == ["ssept", "History", "Recommendations"]


# Of each element with text of its own, the contrast with the nearest background, after WCAG 2.
CONTRASTS = """
const luminance = ([r, g, b]) => [r, g, b].map((one) => one / 255)
  .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
  .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
const parts = (color) => color.match(/[\\d.]+/g).map(Number);
const ground = (one) => {
  const color = one && parts(getComputedStyle(one).backgroundColor);
  return !one || color[3] === 0 ? ground(one?.parentElement ?? document.body) : color;
};
return [...document.querySelectorAll("body *")]
  .filter((one) => one.checkVisibility() && !one.disabled && !one.closest(".hidden")
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((one) => {
    const pair = [parts(getComputedStyle(one).color), ground(one)].map(luminance);
    return [(Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05), one.outerHTML];
  });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(page: Page, scheme: str) -> None:
    page.noise.add("network")
    prefer(page.chrome, scheme)
    page.find(f"input[value={SECOND}]").click()
    page.wait(lambda: page.marks(SECOND))
    page.find("#title").send_keys("harbour")
    page.wait(lambda: page.all("[role=option]"))
    contrasts = page.chrome.execute_script(CONTRASTS)
    page.type("#top-k", "1000" + Keys.ENTER)
    page.wait(lambda: page.text("#top-k-error"))
    contrasts += page.chrome.execute_script(CONTRASTS)
    assert len(contrasts) > 50
    assert [found for found in contrasts if found[0] < 4.5] == []


def test_it_works_by_ids_where_there_are_no_titles(chrome: Chrome, untitled_url: str) -> None:
    page = Page(chrome, untitled_url)
    assert "with no items in the history" in page.text("#user-note")
    page.find("#title").send_keys("4" + Keys.ENTER)
    page.wait(lambda: page.seen() == ["Item 4"])
    user = int(page.find("#user").get_attribute("value"))
    page.wait(lambda: page.rows(FIRST) == page.predict(user, [4], FIRST))
    assert page.texts("tbody .name")[0] == f"Item {page.rows(FIRST)[0]}"
