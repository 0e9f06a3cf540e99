"""View: what a layer sees of the text, the same for all layers or one of a few that they choose from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from aft_worker.model.attention import causal_mask
from aft_worker.model.config import DecoderConfig, LayerKind
from aft_worker.model.rope import Rotation, rotation


class View(NamedTuple):
    """How far a layer looks and how it tells positions apart."""

    turn: Rotation | None
    """What queries and keys are turned by; None leaves them."""
    mask: Bool[Array, "#batch tokens tokens"]
    """Which keys (columns) each query (row) sees."""


class LayerViews(NamedTuple):
    """The views of all layers."""

    views: View
    """The only one, or with `choice` all there are, one after another along a first axis."""
    choice: Int[Array, " layers"] | None
    """Which one each layer has."""

    def of_layer(self, layer: Int[Array, ""]) -> View:
        """The view that the layer of this index has."""
        if self.choice is None:
            return self.views
        chosen = self.choice[layer]
        view: View = jax.tree.map(lambda views: views[chosen], self.views)
        return view


def layer_views(
    config: DecoderConfig, positions: Int[Array, "#batch tokens"], segments: Int[Array, "batch tokens"] | None
) -> LayerViews:
    """What the layers of `config` see of lines whose tokens stand at `positions` of the samples `segments`."""
    kinds = list(dict.fromkeys(config.layer_kinds))
    views = [_view(kind, config, positions, segments) for kind in kinds]
    if len(views) == 1:
        return LayerViews(views[0], None)
    if any(view.turn is not None for view in views):
        views = [view if view.turn is not None else view._replace(turn=_standing(views)) for view in views]
    stacked: View = jax.tree.map(lambda *each: jnp.stack(each), *views)
    choice = np.array([kinds.index(kind) for kind in config.layer_kinds], np.int32)
    return LayerViews(stacked, jnp.asarray(choice))


def _view(
    kind: LayerKind,
    config: DecoderConfig,
    positions: Int[Array, "#batch tokens"],
    segments: Int[Array, "batch tokens"] | None,
) -> View:
    turn = None if kind.rope is None else rotation(kind.rope, config.head_dim, positions)
    return View(turn, causal_mask(positions.shape[1], kind.window, segments))


def _standing(views: list[View]) -> Rotation:
    """The rotation by nothing, which lets a layer without one run in the program of those with one."""
    cos, sin = next(view.turn for view in views if view.turn is not None)
    return jnp.ones_like(cos), jnp.zeros_like(sin)
