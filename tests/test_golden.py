"""Streams of earlier versions keep decoding: to exactly these symbols, and to this picture within a tolerance."""

import json

import numpy as np
import pytest
from conftest import VECTORS
from make_golden import CASES, symbols_digest

import inrcodec

INDEX = json.loads((VECTORS / "index.json").read_text())


def test_none_is_missing() -> None:
    assert {p.stem for p in VECTORS.glob("*.inr")} == set(INDEX) == set(CASES)


@pytest.mark.parametrize("name", INDEX)
def test_golden(name: str) -> None:
    data = (VECTORS / f"{name}.inr").read_bytes()
    assert symbols_digest(data) == INDEX[name]["symbols"]
    signal, _ = CASES[name]
    special = getattr(signal.format, "special", None)
    ordinary = np.s_[...] if special is None else special.of(0) == 0
    mse = np.mean(np.square(signal.values.astype(float) - inrcodec.decode(data))[ordinary])
    assert 10 * np.log10(signal.peak**2 / mse) == pytest.approx(INDEX[name]["psnr"], abs=0.02)
