"""Error bounds and lossless coding: what is left between a field and its samples, as integers, entropy-coded."""
