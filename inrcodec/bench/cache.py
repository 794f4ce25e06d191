"""Results that need not be measured again, one small file each in the user's cache."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from platformdirs import user_cache_path

from inrcodec import files
from inrcodec.bench.model import Codec, Row

MEANING = 2  # to be raised when a row or a metric comes to mean something else


def key(digest: str, codec: Codec, point: float, threads: int, repeats: int) -> str:
    """Of the item's content, the codec, its version and point, and how it was timed."""
    parts = (MEANING, digest, codec.modality, codec.name, codec.version, point, threads, repeats)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def folder() -> Path:
    return user_cache_path("inrcodec") / "bench"


def load(name: str) -> Row | None:
    """The kept row, or None where there is none that this version can read."""
    try:
        return Row(**json.loads((folder() / name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def store(name: str, row: Row) -> None:
    folder().mkdir(parents=True, exist_ok=True)
    files.write(folder() / name, json.dumps(asdict(row)).encode())
