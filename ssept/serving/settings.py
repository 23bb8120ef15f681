"""Settings of the HTTP server, read from environment variables, which `ssept serve` sets."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ssept.errors import ArtifactError, ServerError
from ssept.files.kinds import is_onnx
from ssept.installation import shipped_checkpoint
from ssept.measure.settings import Settings as SessionSettings
from ssept.measure.settings import read_settings
from ssept.providers import PROVIDERS, applicable
from ssept.providers.onnx.names import read_names
from ssept.variants import CUSTOM, VARIANTS

DATA_VARIABLE = "MOVIELENS_DATA_DIR"
DEFAULT_MODEL = shipped_checkpoint()
LARGEST = 10**9  # of any other number; what is larger is a slip
MOST = {"threads": 1024, "sessions": 256, "max_batch": 4096}  # all of which it starts, or runs
ANY = "*"  # host or web origin
HOST = re.compile(r"([^\s:/?#@,\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]*)?", re.IGNORECASE)  # and a port


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """A server's settings; each is read from the environment variable beside it.

    Attributes:
        model: SSEPT_CHECKPOINT: a checkpoint, an ONNX file, or a folder of artifacts.
        variants: SSEPT_VARIANT: names separated by commas; the first answers unless a request
            asks for another one.
        onnx_names: SSEPT_ONNX_NAMES: what an ONNX file calls its inputs and output, see
            `ssept.providers.onnx.names`.
        provider: SSEPT_PROVIDER.
        threads: SSEPT_THREADS: that a session's call may use.
        sessions: SSEPT_SESSIONS: side by side, for each variant.
        tuned: SSEPT_TUNED: the file of `ssept tune`, whose settings win over threads and
            max_batch; None for none.
        data: MOVIELENS_DATA_DIR: the prepared folder with titles and histories, or None.
        max_batch: SSEPT_MAX_BATCH: the most sequences in one call.
        max_wait_ms: SSEPT_MAX_WAIT_MS: the age cap. A request that would wait longer for its
            turn is refused at once, and one that has waited longer is not run any more.
        deadline_ms: SSEPT_DEADLINE_MS: the most that a request may take, its body included.
        max_body_bytes: SSEPT_MAX_BODY_BYTES.
        max_sequence: SSEPT_MAX_SEQUENCE: items in a request's sequence, though a model reads
            only the last of them.
        max_top_k: SSEPT_MAX_TOP_K.
        all_scores: SSEPT_ALL_SCORES: whether the Open Inference Protocol offers the output
            `scores` too, of all items.
        cors_origins: SSEPT_CORS_ORIGINS: web origins whose pages may call, separated by commas; *
            for all.
        allowed_hosts: SSEPT_ALLOWED_HOSTS: names and addresses that a request's Host header may
            have beside those of this machine itself, separated by commas; * for all.
    """

    model: Path = DEFAULT_MODEL
    variants: tuple[str, ...] = ("fused_topk",)
    onnx_names: str = ""
    provider: str = "cpu"
    threads: int = 1
    sessions: int = 1
    tuned: Path | None = None
    data: Path | None = None
    max_batch: int = 64
    max_wait_ms: float = 200.0
    deadline_ms: float = 1000.0
    max_body_bytes: int = 1 << 20
    max_sequence: int = 1000
    max_top_k: int = 100
    all_scores: bool = False
    cors_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()

    def session(self, variant: str) -> SessionSettings:
        """Return the settings of the sessions of a variant.

        Raises:
            SseptError: the file of `ssept tune` cannot be used, or has nothing of this cell.
        """
        if self.tuned is None:
            return SessionSettings(self.threads, batch=self.max_batch)
        if is_onnx(self.model):  # which has no variants, and is tuned as such
            variant = CUSTOM
        cell = f"{variant}-{self.provider}"
        found = read_settings(self.tuned).get(cell)
        model = f"--model {self.model}" if variant == CUSTOM else f"--variant {variant}"
        if found is None:
            raise ServerError(
                f"{self.tuned}: has no settings for {cell}; run `ssept tune {model} "
                f"--provider {self.provider}`"
            )
        return found


VARIABLES = {
    "model": "SSEPT_CHECKPOINT",
    "variants": "SSEPT_VARIANT",
    "data": DATA_VARIABLE,
} | {
    name: f"SSEPT_{name.upper()}"
    for name in ServerSettings.__dataclass_fields__
    if name not in ("model", "variants", "data")
}


def from_environment(environment: Mapping[str, str] = os.environ) -> ServerSettings:
    """Read the settings from environment variables; an empty variable counts as not set.

    Raises:
        ServerError: a variable's value is not usable; the message names the variable.
    """
    given: dict[str, Any] = {}
    for name, variable in VARIABLES.items():
        text = environment.get(variable, "").strip()
        if text:
            given[name] = _value(name, variable, text)
    settings = ServerSettings(**given)
    _check(settings)
    return settings


def to_environment(settings: ServerSettings) -> dict[str, str]:
    """Return the environment variables that `from_environment` reads as these settings."""
    texts = {}
    for name, variable in VARIABLES.items():
        value = getattr(settings, name)
        if isinstance(value, tuple):
            texts[variable] = ",".join(value)
        else:
            texts[variable] = "" if value is None else str(int(value) if value is True else value)
    return texts


def _value(name: str, variable: str, text: str) -> object:
    default = getattr(ServerSettings, name)
    if name in ("model", "tuned", "data"):
        return Path(text)
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text.lower() not in ("0", "1", "true", "false"):
            raise ServerError(f"{variable} is {text!r}; expected 0 or 1")
        return text.lower() in ("1", "true")
    try:
        number = type(default)(text)
    except ValueError:
        number = 0
    most = MOST.get(name, LARGEST)
    if not 0 < number <= most:
        kind = "whole number" if isinstance(default, int) else "number"
        raise ServerError(f"{variable} is {text!r}; expected a {kind} above 0, at most {most:,}")
    return number


def _check(settings: ServerSettings) -> None:
    if settings.provider not in PROVIDERS:
        raise ServerError(
            f"{VARIABLES['provider']}: unknown provider {settings.provider!r}; expected one "
            f"of {', '.join(PROVIDERS)}"
        )
    for variant in settings.variants:
        if variant not in VARIANTS or variant == CUSTOM:
            raise ServerError(
                f"{VARIABLES['variants']}: unknown variant {variant!r}; expected one of "
                f"{', '.join(name for name in VARIANTS if name != CUSTOM)}"
            )
        if not applicable(variant, settings.provider):
            able = [name for name in PROVIDERS if applicable(variant, name)]
            raise ServerError(
                f"{VARIABLES['provider']}: {settings.provider} does not run {variant}; these do: "
                f"{', '.join(able)}"
            )
    if not settings.variants:
        raise ServerError(f"{VARIABLES['variants']} names no variant")
    _check_callers(settings)
    try:
        read_names(settings.onnx_names)
    except ArtifactError as error:
        raise ServerError(f"{VARIABLES['onnx_names']}: {error}") from error


def _check_callers(settings: ServerSettings) -> None:
    for origin in settings.cors_origins:
        if origin != ANY and not _is_origin(origin):
            raise ServerError(
                f"{VARIABLES['cors_origins']}: {origin!r} is not a web origin; expected one such "
                "as https://shop.example:8443, without a path, or * for all"
            )
    for host in settings.allowed_hosts:
        found = HOST.fullmatch(host)
        if found is None or found[1] != host:
            raise ServerError(
                f"{VARIABLES['allowed_hosts']}: {host!r} is not a host; expected a name or an "
                "address such as shop.example or [2001:db8::1], without a port, or * for all"
            )


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and text == f"{parts.scheme}://{parts.netloc}"
    except ValueError:
        return False
