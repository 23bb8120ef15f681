"""The messages of docs/troubleshooting.md, "Reading a checkpoint or a model file"."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from ssept.artifacts.manifests import copy_artifacts
from ssept.data.dataset import load_dataset
from ssept.model.network import SSEPT, SSEPTConfig
from ssept.providers.onnx.file import describe
from tests.conftest import ITEMS, USERS
from tests.project.messages.user import User, case


def network(users: int = USERS, items: int = ITEMS) -> SSEPT:
    torch.manual_seed(0)
    return SSEPT(SSEPTConfig(users, items, item_dim=8, user_dim=8, heads=1)).eval()


def state_dict(user: User, model: SSEPT, *, without: str = "") -> Path:
    weights = {name: each for name, each in model.state_dict().items() if name != without}
    torch.save({"state_dict": weights, "heads": 1}, user.folder / "model.pt")
    return user.folder / "model.pt"


@case
def no_such_checkpoint(user: User) -> None:
    user.evaluate(user.folder / "model.safetensors")


@case
def lfs_pointer(user: User) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
    user.evaluate(user.file("model.safetensors", text))


@case
def cut_checkpoint(user: User) -> None:
    user.evaluate(user.file("model.safetensors", user.checkpoint.read_bytes()[:-1]))


@case
def foreign_safetensors(user: User) -> None:
    save_file({"weight": torch.ones(2)}, user.folder / "model.safetensors")
    user.evaluate(user.folder / "model.safetensors")


@case
def pickled_module(user: User) -> None:
    torch.save(network(), user.folder / "model.pt")
    user.evaluate(user.folder / "model.pt")


@case
def no_heads(user: User) -> None:
    torch.save(network().state_dict(), user.folder / "model.pt")
    user.evaluate(user.folder / "model.pt")


@case
def other_keys(user: User) -> None:
    dataset = load_dataset(user.data)
    model = network(dataset.users, dataset.items)
    user.evaluate(state_dict(user, model, without=[*model.state_dict()][-1]))


@case
def other_sizes(user: User) -> None:
    user.evaluate(state_dict(user, network(7, 9)))


@case
def unnamed_data(user: User) -> None:
    user.ssept("evaluate", user.checkpoint)


@case
def other_data_trained(user: User) -> None:
    user.ssept("evaluate", user.checkpoint, f"--data-dir={user.other_data()}")


@case
def no_checkpoint_of_data(user: User) -> None:
    user.patch.setenv("SSEPT_CACHE_DIR", str(user.folder / "cache"))
    user.ssept("choose", f"--data-dir={user.other_data()}")


@case
def changed_model_file(user: User) -> None:
    folder = user.folder / "models"
    (artifact,) = copy_artifacts([describe(user.onnx())], folder)
    with artifact.path.open("ab") as file:
        file.write(b"\0")
    user.ssept("gate", folder, folder)


@case
def unclear_inputs(user: User) -> None:
    user.serve(user.onnx(user="a", sequence="b", more_inputs=["c"]))


@case
def any_length(user: User) -> None:
    user.serve(user.onnx(places=None))
