"""The device mesh, and where each array lies on it."""

from typing import TypeVar

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from aft_worker.model.errors import FsdpDoesNotDivide

SumT = TypeVar("SumT")


def make_mesh(*, fsdp: int = 1) -> Mesh:
    """All local devices: `fsdp` of them share each copy of the parameters, the rest split the batch (`data`).

    Raises:
        FsdpDoesNotDivide: the devices do not make whole groups of `fsdp`.
    """
    devices = jax.local_devices()
    if len(devices) % fsdp:
        raise FsdpDoesNotDivide(fsdp, len(devices))
    # Auto, not JAX's default Explicit: there sharding is part of the type and every gather has to spell it out.
    return jax.make_mesh(
        (len(devices) // fsdp, fsdp), ("data", "fsdp"), (AxisType.Auto, AxisType.Auto), devices=devices
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_rows(mesh: Mesh) -> NamedSharding:
    """Rows of the batch split over `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def sum_over_data(shares: SumT, mesh: Mesh) -> SumT:
    """The sum of each device's share, over the mesh's `data`; for the inside of a `shard_map` that splits it."""
    # The partitioner of jaxlib 0.10 aborts on a sum over an axis of one device beside an `fsdp` axis of several.
    return jax.lax.psum(shares, "data") if mesh.shape["data"] > 1 else shares


def parameter_sharding(mesh: Mesh, shape: tuple[int, ...]) -> NamedSharding:
    """A parameter's last dimension that divides is split over `fsdp`; without one it is replicated."""
    parts = mesh.shape["fsdp"]
    axis = next((axis for axis in reversed(range(len(shape))) if parts > 1 and shape[axis] % parts == 0), None)
    if axis is None:
        return replicated(mesh)
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "fsdp"))
