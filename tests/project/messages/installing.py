"""The messages of docs/troubleshooting.md, "Installing"."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

from ssept.providers.onnx.integer_products import wrong_integer_products
from tests.project.messages.user import RUNS, User, case


@case
def two_onnxruntimes(user: User) -> None:
    user.patch.setattr(
        "ssept.providers.onnxruntime.distribution", lambda _: SimpleNamespace(version="9.9")
    )
    user.ssept("report", "run.json")


@case
def wrong_int8(user: User) -> None:
    class Session:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def run(self, _: object, inputs: dict[str, Any]) -> list[Any]:
            return [0 * (inputs["a"].astype(np.int32) @ inputs["b"].astype(np.int32))]

    user.patch.setattr(onnxruntime, "InferenceSession", Session)
    wrong_integer_products.cache_clear()
    try:
        user.doctor()
    finally:
        wrong_integer_products.cache_clear()


@case
def no_train_extra(user: User) -> None:
    user.without("torch", "ssept.model.network", "ssept.model.recipe")
    user.ssept("train")


@case
def no_checkpoint_reader(user: User) -> None:
    user.without("safetensors")
    user.ssept("evaluate", user.checkpoint)


@case
def no_serve_extra(user: User) -> None:
    room = "ssept.serving.runtime"
    user.without("uvicorn", f"{room}.supervisor", f"{room}.uvicorn_server")
    user.ssept("serve")


@case
def no_tune_extra(user: User) -> None:
    user.without("optuna", "ssept.decide.tune")
    user.ssept("tune")


@case
def no_history_extra(user: User) -> None:
    user.without("ruptures")
    user.history(20)


@case
def no_report_extra(user: User) -> None:
    user.without("vl_convert", "ssept.report.page.html")
    user.ssept("report", RUNS[0], "-o", user.folder / "report.html")


@case
def no_fleet_extra(user: User) -> None:
    user.without("ray")
    user.fleet()


@case
def no_clone(user: User) -> None:
    user.patch.setattr("ssept.cli.fleet.is_clone", lambda: False)
    user.fleet()


@case
def no_cache_folder(user: User) -> None:
    user.patch.setenv("SSEPT_CACHE_DIR", "~/cache")
    user.ssept("tune")
