"""Hostile input, made and fed in: see README.md in this folder."""

import os
from pathlib import Path

VECTORS = Path(__file__).parent.parent / "vectors"
os.environ["INRCODEC_MODELS"] = str(VECTORS / "models")  # the tiny networks that the golden streams name
