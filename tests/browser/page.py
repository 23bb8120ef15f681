"""The page as a reader meets it: fields by their labels, what is shown as text."""

import json
from typing import Any
from urllib.request import Request, urlopen

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

SECONDS = 20


class Page:
    """The page of a server in a browser.

    Attributes:
        chrome: the browser.
        url: of the server.
        noise: sources of console messages that a test expects; "network" are answers of 4xx.
    """

    def __init__(self, chrome: Chrome, url: str) -> None:
        self.chrome = chrome
        self.url = url
        self.noise: set[str] = set()
        self.open()

    def open(self) -> None:
        """Load it, and wait for the first recommendations."""
        self.chrome.get(f"{self.url}/")
        self.wait(lambda: self.rows("fused_topk"))

    def wait(self, condition: Any) -> Any:
        """What the condition gives as soon as it is true."""
        ignored = [StaleElementReferenceException]
        return WebDriverWait(self.chrome, SECONDS, 0.05, ignored).until(lambda _: condition())

    def find(self, selector: str) -> WebElement:
        """The first element."""
        return self.chrome.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """All elements."""
        return self.chrome.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """An element's text, as it is shown."""
        return self.find(selector).text

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements, read at one time."""
        script = "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText)"
        found: list[str] = self.chrome.execute_script(script, selector)
        return found

    def rows(self, variant: str) -> list[int]:
        """The ids that a variant recommends on the page."""
        script = """return [...document.querySelectorAll(
            `article[data-variant="${arguments[0]}"] tbody tr`)].map((row) => +row.dataset.item)"""
        found: list[int] = self.chrome.execute_script(script, variant)
        return found

    def marks(self, variant: str) -> list[str]:
        """How they compare."""
        return self.texts(f'article[data-variant="{variant}"] .mark')

    def seen(self) -> list[str]:
        """The names in the history, the newest first, of those that are shown."""
        return self.texts("#seen .name")

    def type_user(self, text: str) -> None:
        """Type a user's id, and Enter."""
        self.type("#user", text + Keys.ENTER)

    def type(self, selector: str, text: str) -> None:
        """Type into a field in place of what it holds."""
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def keys(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.chrome).send_keys(*keys).perform()

    @property
    def focus(self) -> WebElement:
        """The element that has the focus."""
        return self.chrome.switch_to.active_element

    def predict(self, user: int, sequence: list[int], variant: str, k: int = 10) -> list[int]:
        """What the API recommends without the page."""
        body = {"user_id": user, "sequence": sequence, "variant": variant}
        body |= {"top_k": k, "exclude_seen": True}
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/predict", json.dumps(body).encode(), headers)
        with urlopen(request, timeout=SECONDS) as answer:
            found: list[int] = json.load(answer)["top_items"]
        return found

    def history(self, user: int) -> list[int]:
        """A user's items by the API."""
        with urlopen(f"{self.url}/users/{user}", timeout=SECONDS) as answer:
            return [item["id"] for item in json.load(answer)["history"]]
