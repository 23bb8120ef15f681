"""Answers of a loaded server, compared with those of the same model in this process."""

import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from ssept.artifacts import TOPK_IDS, TOPK_SCORES
from ssept.errors import AnswerError, ServerError
from ssept.measure.answers import ROUNDING, difference, overlap
from ssept.providers import Budget
from ssept.providers.session import Ids, Session
from ssept.serving.load.bodies import TOP_K

OK = 200
OUTPUTS = "outputs"
WITNESS_SHARE = 1 / 200  # of the requests of a load: its own are that many more
WITNESS_SECONDS = 30  # for an answer

Answer = Any  # see ssept.measure.answers


class ExpectedAnswers:
    """What a server has to answer: as the same model does alone, within its cell's budget.

    The model's own differences between alone and in a batch, of INT8 with ranges of the batch, are
    what the budget is for: each answer has at least half of the best items, and all together as
    many as the budget wants.
    """

    def __init__(self, name: str, answers: Sequence[Answer], budget: Budget) -> None:
        """Keep the right answers, by the number of the question.

        Args:
            name: of what is served, for messages.
            answers: as for `ssept.measure.answers.difference`.
            budget: of the variant on the provider.
        """
        self._name = name
        self._answers = answers
        self._budget = budget

    @classmethod
    def of_predictions(
        cls,
        name: str,
        session: Session,
        users: Sequence[int] | Ids,
        sequences: Sequence[Ids],
        budget: Budget,
        item_ids: Ids | None = None,
    ) -> "ExpectedAnswers":
        """Ask a session for what `POST /predict` has to answer to `predict_bodies`.

        Args:
            name, budget: as for the constructor.
            session: with the same model file.
            users, sequences: in the catalog's ids.
            item_ids: the ids to answer with, by catalog item from 1 on; None for the catalog's.
        """
        answers = []
        for user, sequence in zip(users, sequences, strict=True):
            ids, scores = session.recommend([user], sequence[None], TOP_K)
            answers.append((ids if item_ids is None else item_ids[ids - 1], scores))
        return cls(name, answers, budget)

    def check_predictions(self, answers: Iterable[tuple[int, bytes]]) -> None:
        """Check answers of `POST /predict` as they were sent, with the numbers of the requests.

        Raises:
            AnswerError: one is wrong, or all together differ too much.
        """
        bodies = len(self._answers)
        try:
            found = [(number % bodies, _predicted(answer)) for number, answer in answers]
        except (ValueError, TypeError, KeyError) as error:
            raise AnswerError(
                f"{self._name}: a response under load is not a prediction: {error!r:.100}"
            ) from error
        self.check(found)

    def check(self, given: Sequence[tuple[int, Answer]]) -> None:
        """Check answers, each with the number of its question; raises as above."""
        shares = []
        for number, answer in given:
            right = self._answers[number]
            if why := difference(answer, right, self._budget.max_score_error):
                raise AnswerError(
                    f"{self._name}: under load, request {number} of {len(self._answers)} was not "
                    f"answered as the same model does alone: {self._diagnosis(number, answer, why)}"
                )
            if isinstance(right, tuple):
                shares.append(overlap(answer, right))
        least = self._budget.min_overlap
        if shares and np.mean(shares) < least - ROUNDING:
            raise AnswerError(
                f"{self._name}: {len(shares)} answers under load have {np.mean(shares):.1%} of the "
                f"best items that the same model finds alone; expected at least {least:.1%}"
            )

    def _diagnosis(self, number: int, answer: Answer, why: str) -> str:
        others = enumerate(self._answers)
        error = self._budget.max_score_error
        if any(at != number and not difference(answer, one, error) for at, one in others):
            return "it is the answer to another request, cached or swapped"
        return why


class Witness:
    """Asks a server now and then while a tool that keeps no answers loads it; a context manager.

    Attributes:
        answers: with the number of the question; none of requests that failed, which the tool
            counts among its own.
    """

    def __init__(
        self,
        connected: AbstractContextManager[Callable[[int], Answer]],
        questions: int,
        concurrency: int,
    ) -> None:
        """Start with the block, and end with it.

        Args:
            connected: connects in the witness's thread, as gevent's clients must be used in the one
                that made them. Gives a function of the question's number, whose None says that
                there was no answer.
            questions: how many there are; which is asked, the server cannot know.
            concurrency: requests of the tool under way at any time.
        """
        self.answers: list[tuple[int, Answer]] = []
        self._connected = connected
        self._questions = questions
        self._pause = 1 / (WITNESS_SHARE * concurrency)  # times what an answer took
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Witness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with self._connected as ask:
            while not self._ended.is_set():
                number = secrets.randbelow(self._questions)
                start = time.perf_counter()
                try:
                    answer = ask(number)
                except (OSError, http.client.HTTPException, ServerError):
                    answer = None
                if answer is not None:
                    self.answers.append((number, answer))
                self._ended.wait(self._pause * (time.perf_counter() - start))


def witness_of_predictions(url: str, bodies: Sequence[bytes], concurrency: int) -> Witness:
    """Return a witness that posts bodies as JSON; its answers are the bodies of the responses."""
    parts = urlsplit(url)

    @contextmanager
    def connected() -> Iterator[Callable[[int], Answer]]:
        connection = http.client.HTTPConnection(parts.netloc, timeout=WITNESS_SECONDS)

        def ask(number: int) -> bytes | None:
            head = {"Content-Type": "application/json"}
            try:
                connection.request("POST", parts.path, bodies[number], head)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException):
                connection.close()  # the next request opens it again
                raise
            return body if response.status == OK else None

        with closing(connection):
            yield ask

    return Witness(connected(), len(bodies), concurrency)


def _predicted(answer: bytes) -> Answer:
    """Read the body of an answer: ids and scores, [1, k] each.

    It is one of `POST /predict`, or of the Open Inference Protocol in JSON.
    """
    found = json.loads(answer)
    if OUTPUTS in found:
        tensors = {each["name"]: each["data"] for each in found[OUTPUTS]}
        ids, scores = tensors[TOPK_IDS], tensors[TOPK_SCORES]
    else:
        ids, scores = found["top_items"], found["scores"]
    return np.array([ids], np.int64), np.array([scores], np.float64)  # null becomes NaN
