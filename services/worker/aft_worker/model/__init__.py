"""The decoder: read from a Hugging Face directory, run in JAX, with every sample's gradient norm within reach."""
