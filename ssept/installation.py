"""What comes with ssept beside its code, in a clone and in a wheel: the shipped checkpoint."""

from pathlib import Path

PACKAGE = Path(__file__).parent
SHIPPED = "SSE_PT10kemb.safetensors"


def is_clone() -> bool:
    """Whether this is the repository, also installed as editable, and not a wheel."""
    return (PACKAGE.parent / "pyproject.toml").is_file() and not (PACKAGE / "models").is_dir()


def shipped_folder() -> Path:
    """Find the shipped checkpoints: `models/` in a clone, `ssept/models/` in a wheel."""
    return (PACKAGE.parent if is_clone() else PACKAGE) / "models"


def shipped_checkpoint() -> Path:
    """Return the checkpoint that is measured and served by default."""
    return shipped_folder() / SHIPPED
