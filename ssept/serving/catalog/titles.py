"""A title index: it finds items by words in microseconds, so a server can search between calls.

Items are kept in the order of their popularity, so that what is found is in that order too.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssept.providers.session import Ids

# Letters that have no base letter in Unicode's decompositions.
LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "'": "", "\u2019": ""})
AFTER, LAST = "\0", "\U0010ffff"  # behind a word: the next text, and the end of all it begins
WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Split a text into words without case, accents, apostrophes: "L'Été (1968)" is lete, 1968."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(char for char in decomposed if not unicodedata.combining(char))
    return WORD.findall(letters.translate(LETTERS))


class Titles:
    """An index of the words that titles hold."""

    def __init__(self, titles: Sequence[str], popularity: Ids) -> None:
        """Index the titles.

        Args:
            titles: one for each catalog item from 1 on.
            popularity: how often each of them occurs, int64[items].
        """
        self._items: Ids = np.argsort(-popularity, kind="stable") + 1
        texts = [words_of(titles[item - 1]) for item in self._items.tolist()]
        pairs = sorted((word, place) for place, text in enumerate(texts) for word in text)
        self._words = [word for word, _ in pairs]
        self._places = np.array([place for _, place in pairs], np.int64)
        whole = sorted((" ".join(text), place) for place, text in enumerate(texts))
        self._texts = [text for text, _ in whole]
        self._text_places = np.array([place for _, place in whole], np.int64)

    def search(self, query: str, limit: int) -> list[int]:
        """Find items that have, for each word of the query, a word with that prefix; best first.

        Titles that begin with the query come first, then those that have its words whole, then
        the more popular. An empty query finds the most popular items.

        Returns:
            At most `limit` catalog ids.
        """
        words = words_of(query)
        found, whole = np.ones((2, len(self._items)), bool)
        for word in set(words):
            found &= self._between(self._words, self._places, word, word + LAST)
            whole &= self._between(self._words, self._places, word, word + AFTER)
        text = " ".join(words)
        first = self._between(self._texts, self._text_places, text, text + LAST)
        places = np.flatnonzero(found)
        worth = 2 * first[places].astype(np.int8) + whole[places]
        best = places[np.argsort(-worth, kind="stable")[:limit]]
        return [int(item) for item in self._items[best]]

    def _between(
        self, texts: list[str], places: Ids, start: str, end: str
    ) -> npt.NDArray[np.bool_]:
        """Mark the items whose texts in a sorted list are from `start` up to `end`; bool[items]."""
        found = np.zeros(len(self._items), bool)
        found[places[bisect_left(texts, start) : bisect_left(texts, end)]] = True
        return found
