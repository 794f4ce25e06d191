"""The run to look at: one self-contained page, one plot, pictures at equal rate."""
