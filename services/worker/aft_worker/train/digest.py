"""The fingerprint of a train state: equal digests are bit-identical weights and moments."""

import hashlib

import jax
import numpy as np

from aft_worker.train.state import TrainState


def state_digest(state: TrainState) -> str:
    """Sha256, in hex, over every trainable parameter and optimizer value: path, type, shape and bytes, by path."""
    leaves = jax.tree_util.tree_leaves_with_path({"trainable": state.trainable, "opt_state": state.opt_state})
    digest = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(path), leaf) for path, leaf in leaves):
        value = np.asarray(leaf)
        digest.update(f"{path} {value.dtype.str} {value.shape}\n".encode())
        # As plain bytes and without a copy: hashing them lets other threads run.
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
