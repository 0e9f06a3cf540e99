"""Sources of rows, one module a format; none knows what a row means."""
