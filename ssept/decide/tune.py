"""The best settings of a variant on a provider on this machine, by paired measurement."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import optuna

from ssept.artifacts import Artifact
from ssept.errors import AnswerError, ProviderError
from ssept.estimate import Estimate
from ssept.measure.calls import SESSIONS, CheckedCall, checked_recommend
from ssept.measure.latency import paired_times, session_times
from ssept.measure.settings import Settings, Value
from ssept.measure.statistics import paired_log_ratio, session_ratio
from ssept.providers import PROVIDERS
from ssept.providers.session import Session

TOP_K = 10
SEED = 0
# A first look is short, at one session, and may err. The best few are then timed over fresh
# sessions, and the fastest of them once more: what made it the winner may have been luck, and only
# the figure of a measurement that did not choose it is reported.
LOOK_SECONDS = 0.6
LOOK_PAIRS = 20
FINALISTS = 3
GRID_LIMIT = 48
SEARCH_SHARE = 0.5
FINAL_SESSIONS = 5
Load = Callable[[Settings], Session]
LEAST_GAIN = 1.01  # less is not worth other settings than everybody's


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The result of a search.

    Attributes:
        variant, provider: what was tuned.
        default: the settings that it was compared with.
        choice: the winner, or the default where nothing was faster by `LEAST_GAIN` for certain.
        speedup: of the best finalist over the default, in sequences a second, from fresh sessions
            that were not used to choose it, with a 99 % interval.
        kept_default: whether the choice is the default.
        tried: how many settings were looked at.
        refused: settings that the provider refused, with the reason.
    """

    variant: str
    provider: str
    default: Settings
    choice: Settings
    speedup: Estimate
    kept_default: bool
    tried: int
    refused: list[str]


@dataclass(frozen=True)
class Space:
    """The values to try; of each option the first is the provider's default."""

    threads: list[int]
    options: Mapping[str, list[Value]]
    batches: list[int]

    def suggest(self, trial: optuna.Trial) -> Settings:
        """Draw one point of the space."""
        point: dict[str, Any] = {
            name: trial.suggest_categorical(name, values) for name, values in self.lists.items()
        }
        threads, batch = int(point.pop("threads")), int(point.pop("batch"))
        changed = {name: value for name, value in point.items() if value != self.options[name][0]}
        return Settings(threads, changed, batch)

    def sampler(self) -> optuna.samplers.BaseSampler:
        """Return a sampler: every point in random order if there are few, else Optuna's default."""
        if self.size > GRID_LIMIT:
            return optuna.samplers.TPESampler(seed=SEED)
        return optuna.samplers.GridSampler(self.lists, seed=SEED)

    @property
    def lists(self) -> dict[str, list[Any]]:
        """The values by the name of what they are for."""
        return {"threads": self.threads, "batch": self.batches, **self.options}

    @property
    def size(self) -> int:
        """How many points there are."""
        return math.prod(len(values) for values in self.lists.values())


def space_of(provider: str, batches: Sequence[int]) -> Space:
    """Return the space of a provider: threads up to the cores, and the values of its options."""
    cores = len(os.sched_getaffinity(0))
    return Space(list(range(1, cores + 1)), PROVIDERS[provider].worth_trying(), list(batches))


class Tuner:
    """Compares settings of one artifact on one provider with the default, call by call."""

    def __init__(
        self, artifact: Artifact, provider: str, default: Settings, load: Load | None = None
    ) -> None:
        self.artifact, self.provider, self.default = artifact, provider, default
        self._load = load
        self.reference = self.load(default)
        self.seen: dict[str, float] = {}
        self.refused: list[str] = []

    def load(self, choice: Settings) -> Session:
        """Start a session with these settings."""
        if self._load:
            return self._load(choice)
        return PROVIDERS[self.provider].load(self.artifact, choice.threads, choice.options)

    def call(self, session: Session, choice: Settings) -> CheckedCall:
        """Return a call of a session, with inputs of the batch size."""
        return checked_recommend(session, choice.batch, TOP_K, self.provider)

    def look(self, choice: Settings) -> float:
        """Return the sequences per second relative to the default's, of one session."""
        cell_ns, default_ns = paired_times(
            self.call(self.load(choice), choice),
            self.call(self.reference, self.default),
            seconds=LOOK_SECONDS,
            least_pairs=LOOK_PAIRS,
        )
        return math.exp(paired_log_ratio(default_ns, cell_ns)) * self._scale(choice)

    def speedup(self, choice: Settings, seconds: float, sessions: int = SESSIONS) -> Estimate:
        """Return the sequences per second relative to the default's, over fresh sessions."""
        times = session_times(
            lambda: self.call(self.load(choice), choice),
            lambda: self.call(self.load(self.default), self.default),
            seconds=seconds,
            sessions=sessions,
        )
        return session_ratio(times).map(lambda end: end * self._scale(choice))

    def _scale(self, choice: Settings) -> float:
        return choice.batch / self.default.batch

    def objective(self, trial: optuna.Trial, space: Space) -> float:
        """Measure one point for a short time; a point seen before keeps its first figure."""
        choice = space.suggest(trial)
        key = repr(choice)
        if key not in self.seen:
            try:
                self.seen[key] = self.look(choice)
            except (AnswerError, ProviderError) as error:
                self.seen[key] = 0.0
                self.refused.append(f"{choice}: {error}")
        trial.set_user_attr("choice", asdict(choice))
        return self.seen[key]


def tune(
    artifact: Artifact,
    provider: str,
    default: Settings,
    space: Space,
    *,
    budget_s: float,
    load: Load | None = None,
) -> Tuned:
    """Search the space for `budget_s` seconds and confirm the best against the default.

    The winner replaces the default only if its interval lies above `LEAST_GAIN`: otherwise the
    difference is within noise or too small, and the default stays.

    Args:
        artifact: what runs.
        provider: a name in PROVIDERS.
        default: the settings to compare with.
        space: what to try.
        budget_s: seconds in all.
        load: starts a session with settings, where it is not the provider that does.

    Raises:
        ProviderError: the provider cannot run the artifact with its default settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tuner = Tuner(artifact, provider, default, load)
    study = optuna.create_study(direction="maximize", sampler=space.sampler())
    end = time.monotonic() + budget_s * SEARCH_SHARE

    def stop(study: optuna.Study, _: optuna.trial.FrozenTrial) -> None:
        if len(tuner.seen) >= space.size or time.monotonic() > end:
            study.stop()

    study.optimize(
        lambda trial: tuner.objective(trial, space),
        timeout=budget_s * SEARCH_SHARE,
        callbacks=[stop],
        show_progress_bar=False,
    )
    ranked = sorted(study.trials, key=lambda trial: trial.value or 0.0, reverse=True)
    finalists = _distinct(Settings(**trial.user_attrs["choice"]) for trial in ranked if trial.value)
    final_s = budget_s * (1 - SEARCH_SHARE) / 2
    choice = max(
        (each for each in finalists if each != default),
        key=lambda each: tuner.speedup(each, final_s / FINALISTS, FINAL_SESSIONS).value,
        default=default,
    )
    speedup = Estimate(1.0, 1.0, 1.0)
    if choice != default:
        speedup = tuner.speedup(choice, final_s)
    kept = not speedup.low > LEAST_GAIN
    return Tuned(
        variant=artifact.variant,
        provider=provider,
        default=default,
        choice=default if kept else choice,
        speedup=speedup,
        kept_default=kept,
        tried=len(tuner.seen),
        refused=tuner.refused,
    )


def _distinct(choices: Any) -> list[Settings]:
    """Return the first different ones, FINALISTS at most."""
    found: list[Settings] = []
    for choice in choices:
        if choice not in found:
            found.append(choice)
        if len(found) == FINALISTS:
            break
    return found
