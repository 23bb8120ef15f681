"""`ssept doctor`: what it reads of other machines, its verdicts, and broken environments."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import numpy as np
import pytest

from ssept.cli import main
from ssept.measure.doctor import (
    Recommendation,
    Report,
    blockers_of,
    recommend,
    warnings_of,
)
from ssept.measure.machine import (
    Limits,
    Machine,
    cgroup_limits,
    fingerprint,
    parse_cpuinfo,
    read_boost,
    read_machine,
)
from ssept.measure.packages import OnnxRuntimeState, ProviderState, diagnose_onnxruntime
from ssept.measure.quiet import (
    BusyProcess,
    busy_processes,
    judge,
    spread_of,
    steal_share,
    timed_calls,
)
from ssept.providers import PROVIDERS
from ssept.report.doctor import render
from tests.helpers.matrix import ROOT, command, environment, run_matrix
from tests.helpers.toys import toy_quota
from tests.helpers.toys.toy_quota import half_a_cpu

XEON = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8480+
flags\t\t: fpu sse2 avx avx2 avx512f avx_vnni avx512_bf16 avx512_vnni amx_bf16 avx512_fp16 \
amx_tile amx_int8
bugs\t\t: spectre_v1

processor\t: 1
model name\t: another
"""
JETSON = """\
processor\t: 0
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd42
"""
RASPBERRY_PI = """\
processor\t: 0
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Revision\t: c03114
Model\t\t: Raspberry Pi 4 Model B Rev 1.4
"""
GRAVITON = """\
processor\t: 0
Features\t: fp asimd asimddp sve svei8mm svebf16 i8mm bf16
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
OLD_ARM = "processor\t: 0\nmodel name\t: ARMv7 Processor rev 4 (v7l)\nFeatures\t: half neon vfpv4\n"


@pytest.mark.parametrize(
    ("text", "name", "virtualised", "instruction_sets"),
    [
        (
            XEON,
            "Intel(R) Xeon(R) Platinum 8480+",
            False,
            "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_int8 amx_bf16",
        ),
        (XEON.replace("sse2", "sse2 hypervisor"), "Intel(R) Xeon(R) Platinum 8480+", True, None),
        (JETSON, "Cortex-A78AE", None, "asimd asimddp"),
        (RASPBERRY_PI, "Cortex-A72", None, "asimd"),
        (GRAVITON, "Neoverse-V1", None, "asimd asimddp i8mm sve bf16"),
        (OLD_ARM, "ARMv7 Processor rev 4 (v7l)", None, ""),
        ("", None, None, ""),
    ],
    ids=["Xeon", "Xeon in a VM", "Jetson", "Raspberry Pi", "Graviton", "32-bit ARM", "no cpuinfo"],
)
def test_the_cpu_of_any_machine(
    text: str, name: str | None, virtualised: bool | None, instruction_sets: str | None
) -> None:
    cpu = parse_cpuinfo(text)
    assert (cpu.name, cpu.virtualised) == (name, virtualised)
    if instruction_sets is not None:
        assert cpu.instruction_sets == tuple(instruction_sets.split())


V1_UNLIMITED = "9223372036854771712\n"


@pytest.mark.parametrize(
    ("own", "files", "limits"),
    [
        ("0::/\n", {}, Limits(None, None)),
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, Limits(None, None)),
        (
            "0::/\n",
            {"cpu.max": "150000 100000\n", "memory.max": "2147483648\n"},
            Limits(1.5, 2**31),
        ),
        (
            "0::/kubepods/pod7/c1\n",
            {
                "kubepods/cpu.max": "800000 100000\n",
                "kubepods/pod7/cpu.max": "50000 100000\n",
                "kubepods/pod7/c1/cpu.max": "max 100000\n",
                "kubepods/pod7/c1/memory.max": "1000\n",
                "kubepods/memory.max": "2000\n",
            },
            Limits(0.5, 1000),
        ),
        (
            "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "memory/memory.limit_in_bytes": "536870912\n",
            },
            Limits(2.0, 2**29),
        ),
        (
            "5:memory:/a\n4:cpu:/a\n0::/\n",
            {
                "cpu/a/cpu.cfs_quota_us": "-1\n",
                "cpu/a/cpu.cfs_period_us": "100000\n",
                "memory/a/memory.limit_in_bytes": V1_UNLIMITED,
            },
            Limits(None, None),
        ),
        ("", {}, Limits(None, None)),
    ],
    ids=[
        "v2, no files",
        "v2, unlimited",
        "v2, container",
        "v2, the tightest of the levels",
        "v1, the host's name of a container",
        "v1, unlimited",
        "no cgroups",
    ],
)
def test_cgroup_limits(tmp_path: Path, own: str, files: dict[str, str], limits: Limits) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cgroup_limits(own, tmp_path) == limits


@pytest.mark.parametrize(
    ("file", "text", "boost"),
    [
        ("intel_pstate/no_turbo", "0\n", True),
        ("intel_pstate/no_turbo", "1\n", False),
        ("cpufreq/boost", "1\n", True),
        ("cpufreq/boost", "0\n", False),
        ("cpufreq/policy0", "", None),
    ],
)
def test_boost_of_either_driver(tmp_path: Path, file: str, text: str, boost: bool | None) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text)
    assert read_boost(tmp_path) is boost


def test_the_fingerprint_is_json_and_says_what_times_depend_on() -> None:
    saved = json.loads(json.dumps(fingerprint()))
    assert saved["packages"]["numpy"]
    assert saved["cpus_allowed"] >= 1
    assert {"cgroup_cpu_quota", "governor", "boost", "instruction_sets", "python"} <= set(saved)


def test_steal_is_a_share_of_the_time_that_was_wanted() -> None:
    before = "cpu  100 0 50 1000 10 0 0 5 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    after = "cpu  160 0 70 9000 90 0 0 25 60 0\ncpu0 9 9 9 9 9 9 9 9 0 0\n"
    assert steal_share(before, after) == pytest.approx(20 / (60 + 20 + 20))
    assert steal_share(before, before) == 0
    assert steal_share("", "") == 0


def test_busy_processes_are_the_busiest_first_without_the_idle_and_the_ended() -> None:
    before = {(1, "idle"): 5.0, (2, "a"): 1.0, (3, "b"): 1.0, (4, "gone"): 0.0, (5, "c"): 0.0}
    after = {(1, "idle"): 5.1, (2, "a"): 2.0, (3, "b"): 5.0, (5, "c"): 1.5, (6, "new"): 9.0}
    found = busy_processes(before, after, seconds=2.0)
    assert found == (BusyProcess(3, "b", 2.0), BusyProcess(5, "c", 0.75), BusyProcess(2, "a", 0.5))


def times(slow: float = 0.0, factor: float = 1.0, stall_ms: float = 0.0) -> np.ndarray:
    """2,000 calls of 1 ms, a share of them slower by a factor, one of them stalled."""
    calls = np.full(2_000, 1e6)
    calls[: round(slow * len(calls))] *= factor
    calls[-1] += stall_ms * 1e6
    return calls


@pytest.mark.parametrize(
    ("calls", "steal", "verdict"),
    [
        (times(), 0.0, "quiet"),
        (times(slow=0.009, factor=3), 0.0, "quiet"),
        (times(slow=0.1, factor=1.1), 0.0, "usable: trust ratios, not times"),
        (times(slow=0.02, factor=1.5), 0.0, "usable: trust ratios, not times"),
        (times(stall_ms=30), 0.0, "usable: trust ratios, not times"),
        (times(), 0.05, "usable: trust ratios, not times"),
        (
            times(slow=0.1, factor=1.6),
            0.0,
            "noisy: p95 is 1.60 times the median",
        ),
        (times(slow=0.02, factor=4), 0.0, "noisy: p99 is 4.00 times the median"),
        (times(stall_ms=250), 0.3, "noisy: a stall of 250 ms, 30% of CPU time stolen by the "),
    ],
)
def test_the_verdict_follows_the_times(calls: np.ndarray, steal: float, verdict: str) -> None:
    said = judge(spread_of(calls, steal), ())
    assert said.verdict.startswith(verdict)
    assert bool(said.disturbances) == (verdict != "quiet")
    assert said.noisy == verdict.startswith("noisy")


def test_a_percentile_of_too_few_calls_is_left_out_of_the_verdict() -> None:
    spread = spread_of(times(slow=0.5, factor=9)[900:1_100], 0.0)
    assert spread.p95_ratio is not None
    assert spread.p99_ratio is None
    assert "p99 unknown (too few calls)" in render(a_report(calls=times()[:200]))


def test_the_timed_work_gives_enough_calls_for_a_p95_however_short() -> None:
    measured = timed_calls(1e-3)
    assert spread_of(measured, 0.0).p95_ratio is not None
    assert (measured > 0).all()


SERVER = Machine(
    cpu="Xeon",
    architecture="x86_64",
    board=None,
    cores=8,
    cpus=16,
    cpus_allowed=16,
    instruction_sets=("avx2", "amx_int8"),
    smt=True,
    virtualised=False,
    cgroup_cpu_quota=None,
    cgroup_memory_bytes=None,
    governor="performance",
    boost=True,
    memory_bytes=64_000_000_000,
    nvidia=False,
)
PI = replace(SERVER, architecture="aarch64", board="Raspberry Pi 5", memory_bytes=8_000_000_000)
ONE_CPU = replace(SERVER, cpus_allowed=1)
JETSON_ORIN = replace(PI, board="NVIDIA Jetson AGX Orin", nvidia=True)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        (SERVER, "openvino"),
        (replace(SERVER, nvidia=True), "cuda"),
        (replace(SERVER, memory_bytes=2_000_000_000), "edge"),
        (replace(SERVER, cgroup_memory_bytes=2_000_000_000), "edge"),
        (replace(SERVER, architecture="aarch64"), "cpu"),
        (PI, "edge"),
        (JETSON_ORIN, "edge"),
    ],
)
def test_the_environment_for_a_machine(machine: Machine, expected: str) -> None:
    assert recommend(machine).environment == expected


def a_report(
    machine: Machine = SERVER,
    calls: np.ndarray | None = None,
    steal: float = 0.0,
    busy: tuple[BusyProcess, ...] = (),
    load: float = 0.1,
    unavailable: dict[str, str] | None = None,
    onnxruntime: OnnxRuntimeState | None = None,
) -> Report:
    return Report(
        machine=machine,
        memory_available_bytes=5_000_000_000,
        load_average=(load, 0.2, 0.3),
        providers=tuple(ProviderState(name, (unavailable or {}).get(name)) for name in PROVIDERS),
        onnxruntime=onnxruntime or OnnxRuntimeState(("onnxruntime 1.2",), None, ()),
        quietness=judge(spread_of(times() if calls is None else calls, steal), busy),
        recommendation=Recommendation("openvino", "because"),
    )


def test_a_quiet_server_has_no_warnings() -> None:
    assert warnings_of(a_report()) == []
    assert "what to do" not in render(a_report())


BUSY = (BusyProcess(77, "firefox", 1.5),)


@pytest.mark.parametrize(
    ("report", "needed"),
    [
        (a_report(replace(SERVER, governor="powersave")), ["powersave", "cpupower", "performance"]),
        (a_report(replace(SERVER, cgroup_cpu_quota=1.5)), ["1.5", "16 CPUs", "--threads at 1"]),
        (a_report(replace(SERVER, cgroup_cpu_quota=8.0)), ["over 8 of", "--threads at 8 or below"]),
        (a_report(replace(ONE_CPU, cgroup_cpu_quota=0.99)), ["0.99 of the 1 CPUs", "too many"]),
        (a_report(calls=times(0.1, 1.1)), ["p95 is 1.10", "trust ratios", "--rounds"]),
        (a_report(calls=times(0.1, 3), busy=BUSY), ["p95 is 3.00", "pin", "--rounds"]),
        (a_report(calls=times(0.1, 3), busy=BUSY), ["firefox (pid 77, 1.5 CPUs)", "close"]),
        (a_report(steal=0.3, load=20.0), ["load average 20.0", "share the host"]),
        (a_report(steal=0.3), ["30% of CPU time stolen", "--rounds"]),
        (a_report(unavailable={"cpu": "install it"}), ["baseline", "install it"]),
        (
            a_report(onnxruntime=OnnxRuntimeState(("onnxruntime 1.2",), None, (), "INT8 is wrong")),
            ["INT8 is wrong"],
        ),
    ],
)
def test_each_warning_says_what_is_wrong_and_what_to_do(report: Report, needed: list[str]) -> None:
    warnings = warnings_of(report)
    assert any(all(part in line for part in needed) for line in warnings), warnings
    assert all("\n" not in line for line in warnings)
    assert blockers_of(report) == []


def test_a_busy_process_that_disturbs_nothing_is_no_warning() -> None:
    assert warnings_of(a_report(busy=BUSY)) == []


def test_a_quota_that_covers_every_cpu_is_no_warning() -> None:
    assert warnings_of(a_report(replace(SERVER, cgroup_cpu_quota=16.0))) == []


def test_half_a_cpu_is_shown_without_advice_that_cannot_be_followed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ssept.measure.machine.cgroup_limits", half_a_cpu)
    assert main(["doctor", "--seconds", "0.01"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "cgroup CPUs 0.5" in said
    assert "one thread is too many: raise the limit (docker: --cpus)" in said
    assert "--threads" not in said


@pytest.mark.slow
def test_the_matrix_measures_with_half_a_cpu_and_says_so(
    tmp_path: Path, small_folder: Path, small_checkpoint: Path
) -> None:
    own = ["--data-dir", small_folder, "--checkpoint", small_checkpoint]
    few = ["--rounds=45", "--batch-sizes=1", "--variants=onnx", "--providers=cpu", "-k", "latency"]
    run = run_matrix(tmp_path, "-p", toy_quota.__name__, *own, *few)
    assert run.code == 0, run.output
    assert "ssept: the cgroup stops a process that takes over 0.5 of the" in run.output
    assert "one thread is too many: raise the limit" in run.output
    assert run.saved["machine_info"]["ssept"]["cgroup_cpu_quota"] == 0.5


def test_no_provider_at_all_blocks() -> None:
    report = a_report(unavailable=dict.fromkeys(PROVIDERS, "not here"))
    assert len(blockers_of(report)) == 1
    assert "tox -e openvino" in blockers_of(report)[0]
    assert warnings_of(report) == blockers_of(report)


@pytest.mark.parametrize(
    ("installed", "folder", "whole", "problem"),
    [
        ([], None, False, None),
        (["onnxruntime 1.2"], "/site/onnxruntime", True, None),
        ([], "/conda/onnxruntime", True, None),
        (
            ["onnxruntime 1", "onnxruntime-gpu 2"],
            "/s/o",
            True,
            "onnxruntime 1 and onnxruntime-gpu 2",
        ),
        (["onnxruntime 1"], "/site/onnxruntime", False, "/site/onnxruntime is a hollow package"),
        ([], "/site/onnxruntime", False, "/site/onnxruntime is a hollow package"),
        (["onnxruntime-gpu 2"], None, False, "onnxruntime-gpu 2 is installed, but its files"),
    ],
)
def test_onnxruntime_distributions(
    installed: list[str], folder: str | None, whole: bool, problem: str | None
) -> None:
    state = diagnose_onnxruntime(installed, folder, whole, "gpu")
    if problem is None:
        assert (state.problem, state.repair) == (None, ())
        return
    assert state.problem is not None
    assert state.problem.startswith(problem)
    uninstall, install = state.repair
    assert uninstall.endswith(
        "pip uninstall --yes onnxruntime onnxruntime-gpu onnxruntime-openvino"
    )
    assert install.endswith("pip install --editable '.[gpu]'")


def test_the_text_fits_100_columns_and_its_commands_can_be_pasted() -> None:
    broken = diagnose_onnxruntime(["onnxruntime 1.2", "onnxruntime-gpu 1.2"], "/s/o", True, "cpu")
    busy = tuple(BusyProcess(pid, "a-process-of-a-long-name", 1.0) for pid in range(3))
    text = render(
        a_report(
            replace(PI, governor="schedutil", cgroup_cpu_quota=0.5),
            times(0.1, 3, 300),
            0.4,
            busy,
            onnxruntime=broken,
        )
    )
    long = [line for line in text.splitlines() if len(line) > 100 and sys.executable not in line]
    assert long == []
    joined = text.replace(" \\\n    ", " ")
    assert all(f"\n  {line}\n" in joined for line in broken.repair)
    for title in ("machine", "providers", "onnxruntime", "quiet enough to measure?", "what to do"):
        assert title in text.splitlines()
    assert "Raspberry Pi 5" in text


def hollow(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What `import onnxruntime` finds when only its folder is left: an empty namespace."""
    spec = ModuleSpec("onnxruntime", None, is_package=True)
    assert spec.submodule_search_locations is not None
    spec.submodule_search_locations.append(str(folder))
    monkeypatch.setitem(sys.modules, "onnxruntime", module_from_spec(spec))


def test_a_hollow_onnxruntime_is_explained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hollow(monkeypatch, tmp_path / "onnxruntime")
    assert main(["doctor", "--seconds", "0.01", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert "is a hollow package" in said["blockers"][0]
    assert said["warnings"][0] == said["blockers"][0]
    assert len(said["onnxruntime"]["repair"]) == 2
    states = {state["name"]: state["unavailable"] for state in said["providers"]}
    assert set(states) == set(PROVIDERS)
    assert "broken" in states["cpu"]


@pytest.fixture
def overwritten(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that sees two onnxruntime distributions."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        about = tmp_path / f"{name.replace('-', '_')}-9.8.7.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8.7\n")
    return environment() | {"PYTHONPATH": str(tmp_path)}


def test_two_onnxruntimes_end_in_exit_code_1_with_the_commands(
    overwritten: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ssept.cli", "doctor", "--seconds", "0.01"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=overwritten,
    )
    assert done.returncode == 1, done.stderr
    said = " ".join(done.stdout.replace(" \\\n", " ").split())
    assert "onnxruntime 9.8.7 and onnxruntime-gpu 9.8.7" in said
    assert "the last one written wins" in said
    assert "pip uninstall --yes onnxruntime onnxruntime-gpu" in said


def matrix_header(tmp_path: Path, environ: dict[str, str], *arguments: str) -> str:
    """What pytest says before it collects; no test is run."""
    done = subprocess.run(
        [*command(tmp_path / "results", *arguments), "-k", "no_such_cell"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environ,
    )
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout + done.stderr
    return done.stdout.split("collect")[0]


LOUD = ("-p", "tests.helpers.toys.toy_warning")


@pytest.mark.slow
def test_the_matrix_prints_the_warnings_first(tmp_path: Path) -> None:
    assert "ssept: the neighbours are loud" in matrix_header(
        tmp_path, environment(), *LOUD, "benchmarks"
    )


@pytest.mark.slow
def test_the_projects_own_tests_do_not(tmp_path: Path) -> None:
    own = matrix_header(tmp_path, environment(), *LOUD, "tests/model/test_metrics.py")
    assert "ssept: " not in own


def test_doctor_gives_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", "--seconds", "0.01"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["machine"]["cpus_allowed"] == read_machine().cpus_allowed
    assert said["quietness"]["spread"]["calls"] >= 1
    assert said["recommendation"]["environment"]
    assert said["blockers"] == []
    assert [state["name"] for state in said["providers"]] == list(PROVIDERS)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "two"])
def test_seconds_must_be_a_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", f"--seconds={seconds}"])
    assert f"{seconds}: expected seconds above 0" in capsys.readouterr().err
