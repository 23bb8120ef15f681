"""Prometheus gauges of a model registry: its models, their queues, and whether it is ready."""

import platform
from collections.abc import Iterator
from importlib.metadata import version as version_of

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ssept.serving.core.registry import ModelRegistry


class RegistryCollector(Collector):
    """Metrics of the registry of this process, read at each scrape."""

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        registry = self._registry
        yield _gauge(
            "ssept_build_info",
            "The server",
            {"version": version_of("ssept"), "python": platform.python_version()},
        )
        yield GaugeMetricFamily(
            "ssept_ready", "Whether the server is ready for requests", value=float(registry.ready)
        )
        models = GaugeMetricFamily(
            "ssept_model_info", "The loaded models", labels=["variant", "provider", "version"]
        )
        waiting = GaugeMetricFamily(
            "ssept_waiting_sequences", "Sequences waiting for a session", labels=["variant"]
        )
        for variant, engine in registry.models.engines.items():
            models.add_metric([variant, registry.settings.provider, engine.version], 1)
            waiting.add_metric([variant], engine.batcher.rows)
        yield from (models, waiting)


def _gauge(name: str, about: str, labels: dict[str, str]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
