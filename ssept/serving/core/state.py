"""The gauges of a server: which models it has loaded, whether it is ready, and what waits."""

import platform
from collections.abc import Iterator
from importlib.metadata import version as version_of

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ssept.serving.core.registry import Service


class ServiceState(Collector):
    """The state of a service at the time of a scrape; of several workers, the one that answers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Give the gauges."""
        service = self._service
        yield _gauge(
            "ssept_build_info",
            "The server",
            {"version": version_of("ssept"), "python": platform.python_version()},
        )
        yield GaugeMetricFamily(
            "ssept_ready", "Whether requests are to be sent here", value=float(service.ready)
        )
        models = GaugeMetricFamily(
            "ssept_model_info", "What answers", labels=["variant", "provider", "version"]
        )
        waiting = GaugeMetricFamily(
            "ssept_waiting_sequences", "Sequences that wait for a session", labels=["variant"]
        )
        for variant, engine in service.models.engines.items():
            models.add_metric([variant, service.settings.provider, engine.version], 1)
            waiting.add_metric([variant], engine.batcher.rows)
        yield from (models, waiting)


def _gauge(name: str, about: str, labels: dict[str, str]) -> Metric:
    family = GaugeMetricFamily(name, about, labels=list(labels))
    family.add_metric(list(labels.values()), 1)
    return family
