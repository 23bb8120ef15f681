"""Energy from counters of made-up machines: their units, their ranges, who may read them."""

import errno
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ssept.measure.energy import energy_meter
from ssept.measure.gpu import gpu_sampler
from ssept.report.table import matrix_report
from ssept.results.files import read_matrix_run
from tests.helpers.fake_nvml import FakeNvml
from tests.helpers.reports import RUNS, altered


def zone(powercap: Path, folder: str, name: str, microjoules: int, most: int = 10**9) -> Path:
    made = powercap / folder
    made.mkdir(parents=True)
    (made / "name").write_text(f"{name}\n")
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{most}\n")
    return made / "energy_uj"


def test_packages_are_added_and_their_parts_are_not_counted_again(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 1_000_000)  # the first one again
    with energy_meter(powercap=tmp_path, hwmon=tmp_path) as meter:
        assert not isinstance(meter, str)
        first.write_text("3000000")
        second.write_text("5500000")
        assert meter.joules() == pytest.approx(2.5)
        assert meter.joules() == pytest.approx(2.5)
        assert "RAPL" in meter.source


def test_dies_that_may_mirror_one_another_are_not_read(tmp_path: Path) -> None:
    for die in range(2):
        zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 1_000_000)
    with energy_meter(powercap=tmp_path, hwmon=tmp_path) as meter:
        assert isinstance(meter, str)
        assert "by die" in meter


def test_a_counter_that_goes_is_no_figure(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    with energy_meter(powercap=tmp_path, hwmon=tmp_path) as meter:
        assert not isinstance(meter, str)
        counter.unlink()
        time.sleep(0.2)
        with pytest.raises(OSError, match="energy_uj"):
            meter.joules()


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, most=10_000_000)
    with energy_meter(powercap=tmp_path, hwmon=tmp_path) as meter:
        assert not isinstance(meter, str)
        counter.write_text("500000")
        assert meter.joules() == pytest.approx(1.5)


def test_a_board_has_power_times_time(tmp_path: Path) -> None:
    monitor = tmp_path / "hwmon3"
    monitor.mkdir()
    for name, text in (
        ("in1_label", "VDD_CPU_GPU_CV"),
        ("in2_label", "VDD_IN"),
        ("in2_input", "5000"),
        ("curr2_input", "2000"),
    ):
        (monitor / name).write_text(text)
    zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 0)
    with energy_meter(powercap=tmp_path / "powercap", hwmon=tmp_path) as meter:
        assert not isinstance(meter, str)
        start = time.perf_counter()
        before = meter.joules()
        time.sleep(0.2)
        joules, passed = meter.joules() - before, time.perf_counter() - start
        assert 0 < joules <= 10 * passed * 1.001
        assert "board" in meter.source


@pytest.mark.parametrize("power", [True, False])
def test_a_gpu_has_a_counter_of_its_own(monkeypatch: pytest.MonkeyPatch, power: bool) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(power=power))  # type: ignore[arg-type]
    with gpu_sampler(interval_s=3600) as sampler, energy_meter(sampler) as meter:
        if not power:
            assert meter == "this GPU counts no energy"
            return
        assert not isinstance(meter, str)
        assert meter.joules() >= 0.5


def test_a_machine_without_a_counter_says_so(tmp_path: Path) -> None:
    with energy_meter(powercap=tmp_path / "none", hwmon=tmp_path) as meter:
        assert isinstance(meter, str)
        assert "counts no energy" in meter


def test_a_counter_for_root_alone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 1)
    read_text = Path.read_text

    def refused(path: Path, *more: Any, **named: Any) -> str:
        if path == counter:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_text(path, *more, **named)

    monkeypatch.setattr(Path, "read_text", refused)
    with energy_meter(powercap=tmp_path, hwmon=tmp_path) as meter:
        assert isinstance(meter, str)
        assert f"{counter}: only root may read it" in meter


def test_the_report_has_a_column_where_it_was_counted(tmp_path: Path) -> None:
    def count(run: dict[str, Any]) -> None:
        latency = next(each for each in run["benchmarks"] if "latency" in each["name"])
        facts = latency["extra_info"] | {"measure": "energy", "batch": 64, "source": "CPU packages"}
        facts |= {"joules_per_thousand": 1.25}
        more = {"name": "test_energy[x]", "fullname": "test_energy[x]", "extra_info": facts}
        run["benchmarks"].append(latency | more)

    plain = read_matrix_run(RUNS[0])
    assert "J b64" not in matrix_report(plain)
    counted = matrix_report(read_matrix_run(altered(RUNS[0], tmp_path, count)))
    assert "CPU J b64" in counted
    assert "1.250" in counted
    assert "at batch N: CPU packages" in counted
