"""The messages of docs/troubleshooting.md, "Measuring"."""

import json

from tests.project.messages.user import User, case


@case
def in_parallel(user: User) -> None:
    user.matrix("-n2", lean=False)


@case
def noisy(user: User) -> None:
    user.with_noise(2.0)
    user.doctor()


@case
def usable(user: User) -> None:
    user.with_noise(1.1)
    user.doctor()


@case
def busy(user: User) -> None:
    seen = iter([{(1, "compiler"): 0.0}, {(1, "compiler"): 1000.0}])
    user.patch.setattr("ssept.measure.quiet._processes", lambda: next(seen))
    user.with_noise(2.0)
    user.doctor()


@case
def governor(user: User) -> None:
    user.on_machine(governor="powersave")
    user.doctor()


@case
def quota(user: User) -> None:
    user.on_machine(cgroup_cpu_quota=1.5, cpus_allowed=8)
    user.doctor()


@case
def tuned_elsewhere(user: User) -> None:
    tuned = user.file("tuned.json", json.dumps({"schema": 1, "cpu": "another", "cells": {}}))
    user.serve(user.onnx(), f"--tuned={tuned}")
