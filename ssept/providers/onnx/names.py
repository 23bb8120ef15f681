"""The roles of an ONNX file's inputs and outputs: given by the user, or found by name or shape."""

from collections.abc import Iterable, Mapping
from typing import Any

from ssept.artifacts import EXCLUDE, TOPK_IDS, TOPK_SCORES, K, Signature
from ssept.errors import SHOWN, ArtifactError, one_line, quoted

USER, SEQUENCE, SCORES = "user", "sequence", "scores"
LENGTH, PADDING = "length", "padding"
ROLES = (USER, SEQUENCE, SCORES, LENGTH, PADDING)
FORM = "user=NAME,sequence=NAME,scores=NAME,length=N,padding=0"
OPTION, VARIABLE = "--onnx-names", "SSEPT_ONNX_NAMES"
ASK = f"with {OPTION} or {VARIABLE}"
INTEGERS = {"tensor(int64)": "int64", "tensor(int32)": "int32"}
FLOAT = "tensor(float)"
HEAD_INPUTS = {K: ("tensor(int64)", 1), EXCLUDE: ("tensor(int64)", 2)}
HEAD_OUTPUTS = {TOPK_IDS: ("tensor(int64)", 2), TOPK_SCORES: (FLOAT, 2)}
# Parts of names that show a role. What may be something else is never taken by its shape alone.
WORDS = {
    USER: ("user", "uid", "customer"),
    SEQUENCE: ("seq", "item", "hist", "input_ids"),
    SCORES: ("score", "logit", "rating", "pred"),
}
OTHERS = ("len", "mask", "pos", "time", "neg", "target", "label")
MOST_SHOWN = 250
Values = Mapping[str, Any]


def read_names(text: str) -> dict[str, str]:
    """Read what a user says of an ONNX file, in the form FORM; "" says nothing.

    Raises:
        ArtifactError: it is not of this form.
    """
    if not text:
        return {}
    parts = [part.partition("=") for part in text.split(",")]
    names = {role.strip(): name.strip() for role, _, name in parts}
    if len(names) < len(parts) or not all(names) or not all(names.values()):
        raise ArtifactError(f"{quoted(text)}: expected {FORM}, or a part of it")
    check_names(names)
    return names


def check_names(names: Mapping[str, str]) -> None:
    """Refuse roles that there are not, and values that they cannot have.

    Raises:
        ArtifactError: as said.
    """
    for role, text in names.items():
        if role not in ROLES:
            raise ArtifactError(f"unknown role {quoted(role)}; expected one of {', '.join(ROLES)}")
        if role == LENGTH and not (text.isascii() and text.isdecimal() and 0 < int(text) < 10**6):
            raise ArtifactError(f"{LENGTH}={_short(text)}: expected a number of items above 0")
        if role == PADDING and text != "0":
            raise ArtifactError(
                f"{PADDING}={_short(text)}: expected 0, the column of the scores that "
                "belongs to no item"
            )


def signature_of(session: Any, names: Mapping[str, str]) -> Signature:
    """Find the roles of a file's inputs and outputs.

    Args:
        session: of ONNX Runtime.
        names: those that are given, see FORM.

    Raises:
        ArtifactError: they are not clear, not there, or not as an SSE-PT has them. The message
            does not name the file.
    """
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    for role in names.keys() & WORDS.keys():
        have = outputs if role == SCORES else inputs
        if names[role] not in have:
            raise ArtifactError(
                f"has no {quoted(names[role], SHOWN)} for {role}; it has {_list(have)}"
            )
    topk = _without_head(inputs, outputs)
    user, sequence = _inputs(inputs, names)
    dtype = _check_inputs(inputs[user], inputs[sequence])
    length = inputs[sequence].shape[1]
    return Signature(
        user=user,
        sequence=sequence,
        scores=_scores(outputs, names),
        dtype=dtype,
        user_is_column=len(inputs[user].shape) == 2,
        length=length if isinstance(length, int) else None,
        topk=topk,
    )


def _without_head(inputs: dict[str, Any], outputs: dict[str, Any]) -> bool:
    """Take the inputs and outputs of the top-k head out; whether they were there, all four."""
    if not (HEAD_INPUTS.keys() <= inputs.keys() and HEAD_OUTPUTS.keys() <= outputs.keys()):
        return False
    for have, head in ((inputs, HEAD_INPUTS), (outputs, HEAD_OUTPUTS)):
        for name, (kind, rank) in head.items():
            value = have.pop(name)
            if (value.type, len(value.shape)) != (kind, rank):
                raise ArtifactError(
                    f"{name} of the top-k head is {value.type} {_short(value.shape)}; expected "
                    f"{kind} with {rank} {'axes' if rank > 1 else 'axis'}"
                )
    return True


def _inputs(inputs: Values, names: Mapping[str, str]) -> tuple[str, str]:
    """Find the names of the user input and of the sequence input, which must be all inputs."""
    if len(inputs) < 2:
        raise ArtifactError(
            f"has the inputs {_list(inputs.values()) or 'none'}; expected two, the user and the "
            "sequence: export it with both"
        )
    user = names.get(USER) or _found(USER, inputs, names.get(SEQUENCE))
    sequence = names.get(SEQUENCE) or _found(SEQUENCE, inputs, user)
    user = user or _found(USER, inputs, sequence)
    more = [name for name in inputs if name not in (user, sequence)]
    if user and sequence and user != sequence and more:
        raise ArtifactError(
            f"needs the inputs {_list(more)} besides {USER} ({_short(user)}) and {SEQUENCE} "
            f"({_short(sequence)}): export it with these two only"
        )
    if not user or not sequence or user == sequence:
        raise ArtifactError(
            "cannot decide which input is the user and which the sequence: it has "
            f"{_list(inputs.values())}; give their names as user=NAME,sequence=NAME {ASK}"
        )
    return user, sequence


def _found(role: str, inputs: Values, other: str | None) -> str | None:
    """Find the one input whose name shows this role, or else whose shape does and no name denies.

    Args:
        role: USER or SEQUENCE.
        inputs: all.
        other: the input that has the other role, if that is known.
    """
    named, shaped = [], []
    for name, value in inputs.items():
        shape, says = value.shape, _says(name)
        column = len(shape) == 2 and shape[1] == 1
        fits = len(shape) == 1 or column if role == USER else len(shape) == 2 and not column
        if name == other or says not in ({role}, set()):
            continue
        if says and (fits or len(shape) == 2):
            named.append(name)
        elif fits:
            shaped.append(name)
    return _only(named) or (None if named else _only(shaped))


def _says(name: str) -> set[str]:
    """Return which roles the parts of a name show, "other" among them."""
    lower = name.lower()
    roles = {role for role in (USER, SEQUENCE) if any(word in lower for word in WORDS[role])}
    return {"other"} if any(word in lower for word in OTHERS) else roles


def _scores(outputs: Values, names: Mapping[str, str]) -> str:
    """Find the name of the output that holds the scores."""
    fitting = {
        name: value
        for name, value in outputs.items()
        if value.type == FLOAT and len(value.shape) in (0, 2)
    }
    by_name = [name for name in outputs if any(word in name.lower() for word in WORDS[SCORES])]
    found = names.get(SCORES) or (SCORES if SCORES in outputs else _only(by_name or fitting))
    if found in fitting:
        return str(found)
    shown = _list(outputs.values())
    if not fitting or found:
        raise ArtifactError(
            f"{_short(found or 'no output')} cannot be the scores: it has {shown}; expected "
            "float32[batch, items + 1]"
        )
    raise ArtifactError(
        f"cannot decide which output holds the scores: it has {shown}; name it with scores=NAME, "
        f"{ASK}"
    )


def _check_inputs(user: Any, sequence: Any) -> str:
    """Return the type of both inputs, if they are of the same and of shapes that can be fed."""
    shown = _list((user, sequence))
    dtypes = {INTEGERS.get(value.type) for value in (user, sequence)}
    dtype = dtypes.pop()
    if dtypes or dtype is None:
        raise ArtifactError(f"{shown}; expected both int64 or both int32")
    column = user.shape[1:] in ([], [1]) or (len(user.shape) == 2 and not _is_size(user.shape[1]))
    if not user.shape or not column or len(sequence.shape) != 2:
        raise ArtifactError(
            f"{shown}; expected {USER} [batch] or [batch, 1], and {SEQUENCE} [batch, length]"
        )
    for value in (user, sequence):
        if _is_size(value.shape[0]):
            raise ArtifactError(
                f"{_short(value.name)} takes batches of {value.shape[0]} only; export it with a "
                "dynamic batch axis"
            )
    return dtype


def _is_size(axis: object) -> bool:
    return isinstance(axis, int)


def _only(names: Iterable[str]) -> str | None:
    found = list(names)
    return found[0] if len(found) == 1 else None


def _list(values: Iterable[Any]) -> str:
    """List names or values with their types and shapes, shortened."""
    parts = (
        _short(value)
        if isinstance(value, str)
        else f"{_short(value.name)}: {value.type}{_short(value.shape)}"
        for value in values
    )
    return one_line(", ".join(parts), MOST_SHOWN)


def _short(value: object) -> str:
    """Write a name or a shape, which are a file's own, for an error."""
    return one_line(str(value), SHOWN)
