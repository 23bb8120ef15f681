"""The rewritten network up to its state, and an index that finds the items whose rows suit it.

The index is FAISS's IVF: k-means puts similar items into lists, and a search reads the lists whose
centers have the largest products with the state. Ways to keep 1,000,000 rows (ML-1M's
3,416 trained rows and copies of them with noise), recall@10 of 512 states, and the time against
float16 at batch 1 and 64 (one thread, taken in turns on a busy machine):

==================================  ======  ======  ====  ====
64 of 4,000 lists, float16          137 MB   0.989  1.00  1.00
8 bits                               73 MB   0.974  0.89  1.00
8 bits, 256 lists                    73 MB   0.984   3.0   3.6
float32                             209 MB   0.990  1.21  1.37
4 bits, the best 300 in float32     236 MB   0.987  1.19  0.90
==================================  ======  ======  ====  ====

float16 ranks as float32 does, so nothing has to be ranked again. A graph (HNSW, 100,000 items)
found 0.993 in 0.29 and 38 ms where lists found 0.991 in 0.14 and 14, took three times the bytes,
and four times as long to build.
"""

import bisect
import math
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import torch

from ssept.artifacts import ENCODER, INDEX
from ssept.files import written_file
from ssept.model.checkpoint import load_checkpoint
from ssept.model.network import SSEPT
from ssept.variants.calibration import Calibration
from ssept.variants.fused import write
from ssept.variants.rewrite.graphs import state_graph

TOP_K = 10
RECALL = 0.99
LISTS_PER_ROOT = 4  # of the number of items
LEAST_IN_A_LIST = 39  # as many as FAISS's k-means asks for, on average
MOST_TRAINED_ON = 64  # for each list; four times as many take four times as long for the same lists
SEED = 0
# FAISS is fast with rows of a multiple of this number of columns: 50 padded to 64 took a third of
# the time at batch 1, and a fifth at batch 64.
COLUMNS = 16

Rows = npt.NDArray[np.float32]


def export(checkpoint: Path, destination: Path, calibration: Calibration) -> None:
    """Write the network and the index as one zip file, the same bytes on the same kind of CPU.

    The index says by itself how many lists a search reads: as few as find RECALL of the best 10 of
    the calibration's states.
    """
    model = load_checkpoint(checkpoint).model
    states = _states(model, calibration)
    with tempfile.TemporaryDirectory() as folder:
        encoder = Path(folder) / ENCODER
        write(checkpoint, encoder, (), state_graph)
        members = {
            ENCODER: encoder.read_bytes(),
            INDEX: faiss.serialize_index(_index(_table(model), states)).tobytes(),
        }
    with written_file(destination) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # which has no time of day in it


def _states(model: SSEPT, calibration: Calibration) -> Rows:
    """Compute the states of the calibration's sequences, float32[n, item_dim]."""
    user, sequence = torch.from_numpy(calibration.user), torch.from_numpy(calibration.sequence)
    with torch.inference_mode():
        states: Rows = model.encode(user, sequence)[:, -1, : model.config.item_dim].numpy()
    return states


def _table(model: SSEPT) -> Rows:
    """Return the rows of items 1…N, float32[N, item_dim]; padding, item 0, is left out."""
    rows: Rows = model.item.weight.detach().numpy()[1:]
    return rows


def _index(table: Rows, states: Rows) -> Any:
    """Build an index of a table's rows by their ids, 1 for the first."""
    faiss.omp_set_num_threads(1)  # sums in the same order every time
    table, states = _padded(table), _padded(states)
    items, columns = table.shape
    lists = max(1, min(round(LISTS_PER_ROOT * math.sqrt(items)), items // LEAST_IN_A_LIST))
    index = faiss.index_factory(columns, f"IVF{lists},SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = SEED
    index.cp.max_points_per_centroid = MOST_TRAINED_ON
    index.cp.spherical = True  # with 64 of 1,265 lists, recall 0.983 became 0.993
    index.train(table)
    index.add_with_ids(table, np.arange(1, items + 1))
    k = min(TOP_K, items)
    _, best = faiss.knn(states, table, k, metric=faiss.METRIC_INNER_PRODUCT)

    def recall(nprobe: int) -> float:
        _, found = index.search(states, k, params=faiss.SearchParametersIVF(nprobe=nprobe))
        return _shared(found, best + 1)

    # More lists hold all that fewer do, so that recall only grows with them.
    index.nprobe = 1 + bisect.bisect_left(range(1, lists), RECALL, key=recall)
    return index


def _shared(found: npt.NDArray[np.int64], best: npt.NDArray[np.int64]) -> float:
    """Compute the mean share of the ids in a row of `best` that are in that row of `found`."""
    return float((found[:, :, None] == best[:, None, :]).any(axis=1).mean())


def _padded(rows: Rows) -> Rows:
    """Pad the rows with zeros, to a multiple of COLUMNS."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % COLUMNS)))
