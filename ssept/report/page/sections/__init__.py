"""The sections of a report: each is made of the material alone, in the order of SECTIONS."""

from collections.abc import Callable

from ssept.report.page.content import Section
from ssept.report.page.material import Material
from ssept.report.page.sections.accuracy_and_speed import accuracy_and_speed
from ssept.report.page.sections.latency import latencies
from ssept.report.page.sections.machines import machines
from ssept.report.page.sections.recommendation import recommendation
from ssept.report.page.sections.resources import resources
from ssept.report.page.sections.scale import scale
from ssept.report.page.sections.servers import servers
from ssept.report.page.sections.throughput import throughput
from ssept.report.page.sections.unmeasured import unmeasured

SECTIONS: tuple[Callable[[Material], Section], ...] = (
    recommendation,
    accuracy_and_speed,
    latencies,
    throughput,
    resources,
    servers,
    scale,
    unmeasured,
    machines,
)
