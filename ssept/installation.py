"""What comes with ssept beside its code, in a clone and in a wheel: the shipped checkpoint."""

from pathlib import Path

PACKAGE = Path(__file__).parent
SHIPPED = "SSE_PT10kemb.safetensors"


def is_clone() -> bool:
    """Whether this is the repository, also installed as editable, and not a wheel."""
    return (PACKAGE.parent / "pyproject.toml").is_file() and not (PACKAGE / "models").is_dir()


def shipped_folder() -> Path:
    """The shipped checkpoints: `models/` in a clone, which a wheel has as `ssept/models/`."""
    return (PACKAGE.parent if is_clone() else PACKAGE) / "models"


def shipped_checkpoint() -> Path:
    """The checkpoint that is measured and served where no other is named."""
    return shipped_folder() / SHIPPED
