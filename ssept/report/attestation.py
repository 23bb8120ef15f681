"""The verdict of a gate as an in-toto statement, and its signature by Sigstore.

The predicate is https://in-toto.io/attestation/test-result/v0.1, of the statement
https://in-toto.io/Statement/v1.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ssept.artifacts.manifests import MANIFEST
from ssept.decide.gate.findings import Finding, GateResult, Verdict
from ssept.decide.gate.sides.side import Side
from ssept.errors import SseptError, one_line
from ssept.files import sha256, sha256_json
from ssept.git import checkout_of
from ssept.results.provenance import code_sha256

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
# What could not be measured has not passed.
RESULTS = {
    Verdict.FINE: "PASSED",
    Verdict.INCONCLUSIVE: "WARNED",
    Verdict.UNMEASURED: "FAILED",
    Verdict.REGRESSED: "FAILED",
}
LONGEST = 300

Digest = dict[str, str]


def digest_of(side: Side) -> Digest:
    """Identify a side while it is open: by its file, or by its commit and its code.

    A source tree with uncommitted changes is no commit, and has the hash of its code alone.
    """
    if side.model:
        return {"sha256": sha256(side.model / MANIFEST if side.model.is_dir() else side.model)}
    if side.tree is None:
        return {}
    found = checkout_of(side.tree / "pyproject.toml")
    commit = {"gitCommit": found.commit} if found and not found.dirty else {}
    return commit | {"sha256": code_sha256(side.tree / "ssept")}


def statement(result: GateResult, digests: Mapping[str, Digest]) -> dict[str, Any]:
    """Return the statement about the head of a gate.

    Args:
        result: of the gate.
        digests: of both sides, by role, see `digest_of`.
    """
    plan = asdict(result.plan)
    names: dict[str, list[str]] = {"PASSED": [], "WARNED": [], "FAILED": []}
    for finding in result.findings:
        names[RESULTS[finding.verdict]].append(_name(finding))
    return {
        "_type": STATEMENT,
        "subject": [{"name": result.sides["head"].name, "digest": digests["head"]}],
        "predicateType": PREDICATE,
        "predicate": {
            "result": RESULTS[result.verdict],
            "configuration": [
                {"name": f"base: {result.sides['base'].name}", "digest": digests["base"]},
                {"name": "plan", "digest": {"sha256": sha256_json(plan)}, "annotations": plan},
                {
                    "name": "machine",
                    "digest": {"sha256": sha256_json(result.machine)},
                    "annotations": result.machine,
                },
            ],
            "passedTests": names["PASSED"],
            "warnedTests": names["WARNED"],
            "failedTests": names["FAILED"],
        },
    }


def identity_token() -> str:
    """Return the token by which Sigstore knows this user or job.

    Raises:
        SseptError: its client is not installed, or nobody is logged in.
    """
    try:
        from sigstore.oidc import IdentityError, detect_credential
    except ImportError as error:
        raise SseptError(
            f"--sign: Sigstore's client needs {error.name}, which is not installed: install the "
            "attest extra"
        ) from error
    try:
        token = detect_credential()
    except IdentityError as error:
        raise SseptError(f"--sign: {one_line(str(error), LONGEST)}") from error
    if not token:
        raise SseptError(
            "--sign: no identity of a CI job was found here; on GitHub give the job the permission "
            "`id-token: write`, or sign the file of --attestation with `sigstore sign FILE`"
        )
    return str(token)


def signed(content: dict[str, Any], token: str) -> str:
    """Sign a statement; return Sigstore's bundle as JSON, which contains it.

    Raises:
        SseptError: the service cannot be reached, or refuses.
    """
    from sigstore.dsse import Statement
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken
    from sigstore.sign import SigningContext

    try:
        context = SigningContext.from_trust_config(ClientTrustConfig.production())
        with context.signer(IdentityToken(token)) as signer:
            return str(signer.sign_dsse(Statement(json.dumps(content).encode())).to_json())
    except (Error, OSError) as error:
        raise SseptError(f"--sign: {one_line(str(error), LONGEST)}") from error


def _name(finding: Finding) -> str:
    return f"{finding.cell} {finding.measure.value}"
