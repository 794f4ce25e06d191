"""What option values mean."""

import json
import re
from typing import Any

from inrcodec.errors import UsageError

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def bytes(text: str) -> int:
    """ "40kB", "1.5 MiB" or "40000" → bytes; k, M and G are decimal."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d*)?|\.\d+) *([a-z]*)", text.strip().lower())
    if match is None or match[2] not in UNITS:
        raise UsageError(f"--target-size must be like 40kB, 1.5MiB or 40000, not '{text}'")
    return int(float(match[1]) * UNITS[match[2]])


def size(text: str) -> tuple[int, ...]:
    """ "640x480" → its numbers."""
    if re.fullmatch(r"\d{1,18}([x×]\d{1,18})*", text.strip().lower()) is None:
        raise UsageError(f"--size must be like 640x480, or 48000 for a sound, not '{text}'")
    return tuple(int(part) for part in re.split("[x×]", text.strip().lower()))


def region(text: str) -> tuple[int, ...]:
    """ "16,0,640,480" → its numbers."""
    if re.fullmatch(r" *\d{1,18} *(, *\d{1,18} *)+", text) is None or text.count(",") % 2 == 0:
        raise UsageError(
            f"--region must be like 16,0,640,480 (x, y, width, height; of a sound start, samples), not '{text}'"
        )
    return tuple(int(part) for part in text.split(","))


def numbers(option: str, text: str, most: int, whole: bool = False) -> list[float]:
    """ "2, 17, 34" → its numbers, from 0 to `most`; whole: integers."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{option} must be numbers with commas between, not '{text}'") from None
    if not all(0 <= number <= most and (number.is_integer() or not whole) for number in found):
        raise UsageError(f"{option} must be {'integers' if whole else 'numbers'} from 0 to {most}, not '{text}'")
    return found


def options(pairs: list[str]) -> dict[str, Any]:
    """ "bits=8", "search=true" → names and values: numbers and truth values as JSON writes them, else text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals and text):
            raise UsageError(f"--set must be like bits=8, not '{pair}'")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
