"""FrozenDigest: the fingerprint of the weights that a run builds upon and does not train."""

import hashlib
import weakref
from concurrent.futures import Future
from threading import Thread

import jax
import numpy as np
import structlog
from jaxtyping import Array

from aft_worker.model.parameters import Parameters, flat

log = structlog.get_logger(__name__)


class FrozenDigest:
    """Sha256 over every frozen parameter, taken on a thread of its own while the run gets ready."""

    def __init__(self, frozen: Parameters) -> None:
        """Begins at once; what nobody else holds any more is let go of and not read to its end."""
        leaves = [("/".join(path), weakref.ref(variable.get_value())) for path, variable in flat(frozen)]
        self._future: Future[str | None] = Future()
        if leaves:
            Thread(target=_settle, args=(self._future, sorted(leaves)), name="frozen-digest", daemon=True).start()
        else:
            self._future.set_result(None)

    def result(self) -> str | None:
        """The digest in hex, once it is there, or what kept it from being taken; None where nothing is frozen."""
        return self._future.result()


def _settle(future: Future[str | None], leaves: list[tuple[str, weakref.ref[Array]]]) -> None:
    try:
        digest = _digest(leaves)
    except Exception as error:
        log.exception("frozen_digest_failed", error=type(error).__name__)
        future.set_exception(error)
        return
    if digest is None:
        future.cancel()
    else:
        future.set_result(digest)


def _digest(leaves: list[tuple[str, weakref.ref[Array]]]) -> str | None:
    """Over name, type, shape and bytes of each leaf, by name; None once one is gone."""
    digest = hashlib.sha256()
    for name, held in leaves:
        leaf = held()
        if leaf is None:
            return None
        value = _on_host(leaf)
        digest.update(f"{name} {value.dtype.name} {value.shape}\n".encode())
        # As plain bytes and without a copy: hashing them lets other threads run.
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        del leaf, value
    return digest.hexdigest()


def _on_host(leaf: Array) -> np.ndarray:
    # An array keeps what it was read into. This one is forgotten with it, and shares the memory on the devices.
    shards = [shard.data for shard in leaf.addressable_shards]
    return np.asarray(jax.make_array_from_single_device_arrays(leaf.shape, leaf.sharding, shards))
