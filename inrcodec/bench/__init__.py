"""Measured rate and distortion on data sets of all kinds of signals. Imported by nothing but the command line."""
