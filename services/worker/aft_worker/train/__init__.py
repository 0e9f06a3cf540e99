"""One optimizer step: loss, gradients, per-sample norms, guard and update, in one compiled function."""
