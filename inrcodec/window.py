"""Words for parts of grids."""

Shape = tuple[int, ...]

Window = tuple[tuple[int, int], ...]
"""(start, stop) per axis."""
