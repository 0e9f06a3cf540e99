"""The JAX worker: trains windows, replays them, scores and exports, over HTTP."""
