"""The model registry: an engine for each variant and the catalog, replaced as a whole."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ssept.errors import SseptError
from ssept.serving.catalog.catalog import Catalog, catalog_of
from ssept.serving.core.batcher import Job, Observer
from ssept.serving.core.call_statistics import STATISTICS_BYTES, CallStatistics
from ssept.serving.core.engine import Engine
from ssept.serving.core.telemetry import TELEMETRY_BYTES, Telemetry
from ssept.serving.core.worker_memory import WorkerMemory
from ssept.serving.settings import ServerSettings

LOG = logging.getLogger("ssept.serving")


@dataclass(frozen=True)
class LoadedModels:
    """Engines and a catalog that were loaded together.

    Attributes:
        engines: by variant; the first answers unless a request asks for another one.
        catalog: of the checkpoint that they are made of.
    """

    engines: dict[str, Engine]
    catalog: Catalog

    @property
    def default(self) -> Engine:
        """The engine of requests that ask for none."""
        return next(iter(self.engines.values()))

    @property
    def are_full(self) -> bool:
        """Whether a new request would wait too long, whichever it asks for."""
        return all(engine.batcher.is_full for engine in self.engines.values())


def load_models(settings: ServerSettings) -> LoadedModels:
    """Load and warm up all that the settings name; takes seconds.

    Raises:
        SseptError: something is missing or broken, or would not run on the provider.
    """
    engines = {variant: Engine(settings, variant) for variant in settings.variants}
    model = next(iter(engines.values())).artifact.model
    return LoadedModels(engines, catalog_of(settings.model, model, settings.data))


def counted_bytes(settings: ServerSettings) -> int:
    """Return the size of what a worker counts."""
    return TELEMETRY_BYTES + len(settings.variants) * STATISTICS_BYTES


class ModelRegistry:
    """The models of a server, which a reload replaces while requests are answered.

    Attributes:
        settings: what it was started with.
        telemetry: what is counted.
        statistics: the calls of each variant, for the Open Inference Protocol.
        models: those that answer now.
        draining: whether the server shuts down; it is not ready then, but still answers.
    """

    models: LoadedModels

    def __init__(self, settings: ServerSettings, memory: WorkerMemory | None = None) -> None:
        self.settings = settings
        memory = memory or WorkerMemory(counted_bytes(settings))
        self.telemetry = Telemetry(memory)
        self.statistics = {variant: CallStatistics(memory) for variant in settings.variants}
        self.draining = False
        self._loaded = False
        self._reloading = asyncio.Lock()

    @property
    def ready(self) -> bool:
        """Whether the server is ready for requests."""
        return self._loaded and not self.draining

    async def start(self, models: LoadedModels | None = None) -> None:
        """Answer with these models, or load them.

        Raises:
            SseptError: as `load_models`.
        """
        if models is None:
            models = await asyncio.to_thread(load_models, self.settings)
        self._take(models)
        self._loaded = True

    async def reload(self) -> bool:
        """Load the models again and answer with them; requests go on meanwhile.

        Returns:
            Whether they could be loaded; if not, the models of before stay.
        """
        async with self._reloading:
            try:
                models = await asyncio.to_thread(load_models, self.settings)
            except Exception as error:  # whatever it is, the server goes on
                self.telemetry.reloads.labels("failed").inc()
                version, traceback = self.models.default.version, not isinstance(error, SseptError)
                LOG.error("reload failed, %s stays loaded: %s", version, error, exc_info=traceback)
                return False
            before = self.models
            self._take(models)
            for engine in before.engines.values():
                await engine.stop()
            self.telemetry.reloads.labels("done").inc()
            LOG.info("reloaded: %s", models.default.version)
            return True

    async def stop(self) -> None:
        """Answer all waiting requests, then stop the engines."""
        for engine in self.models.engines.values():
            await engine.stop()

    def _take(self, models: LoadedModels) -> None:
        for variant, engine in models.engines.items():
            engine.start(self._observer(variant))
        self.models = models

    def _observer(self, variant: str) -> Observer:
        count, record = self.telemetry.batches(variant), self.statistics[variant].record

        def observe(jobs: Sequence[Job], seconds: float) -> None:
            count(jobs, seconds)
            record(jobs, seconds)

        return observe
