"""A worker that speaks the whole protocol and trains nothing: a process of its own, cheap at a thousand runs."""
