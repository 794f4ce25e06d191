"""Measured rate and distortion on a folder of images. Imported by nothing but the command line."""
