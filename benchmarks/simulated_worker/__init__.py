"""A worker that speaks the whole protocol and trains nothing: a process of its own, cheap enough for a thousand runs."""
