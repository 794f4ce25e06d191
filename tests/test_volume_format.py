"""Reading and writing of volumes."""

import gzip
import io
import json
import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile

from inrcodec.errors import InrcodecError, LimitExceeded, OutputFailed, UnsupportedInput, UsageError
from inrcodec.formats import nifti, stored, volume
from inrcodec.signal import Signal

RNG = np.random.default_rng(5)
X, Y, Z = 7, 6, 5
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.1, -0.4, 2.9) * (0.8, -1.1, 2.5), (-31, 12.5, 60))


def voxels(*shape: int, dtype: str = "int16") -> np.ndarray:
    return RNG.integers(0, 120, shape or (X, Y, Z)).astype(dtype)


def nii(values: np.ndarray, affine: np.ndarray | None = OBLIQUE, version: int = 1, **fields: Any) -> bytes:
    """A NIfTI file of values [x, y, z] with both affines."""
    image = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(values, affine, dtype=values.dtype)
    if affine is not None:
        image.set_sform(affine, 1)
        image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = b"made by a test"
    for key, value in fields.items():
        image.header[key] = value
    return image.to_bytes()


def loaded(data: bytes) -> Any:
    """An image, by nibabel alone."""
    data = gzip.decompress(data) if data[:2] == nifti.GZIP else data
    kind = nib.Nifti2Image if data[4:7] == b"n+2" else nib.Nifti1Image
    return kind.from_bytes(data)


def samples(signal: Signal) -> np.ndarray:
    return np.asarray(signal.values[...])[..., 0]


def region(signal: Signal, window: list[list[int]], shape: tuple[int, ...]) -> Signal:
    """As the codec hands it over after --region and --scale: what the samples are does not matter."""
    values = np.zeros((*shape, 1), signal.values.dtype)
    return Signal(values, signal.format.placed(tuple((a, b) for a, b in window), shape, signal.shape))


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("items", [None, 1, 3])
def test_nifti_there_and_back(suffix: str, version: int, items: int | None) -> None:
    values = voxels(X, Y, Z, *([] if items is None else [items]))
    file = nii(values, version=version, scl_slope=0.5, scl_inter=-3, cal_max=90, intent_name=b"why")
    signal = volume.read(gzip.compress(file) if suffix == ".nii.gz" else file)
    assert signal.format.modality == "volume" and signal.shape == (Z, Y, X) and signal.notes == ()
    assert (signal.items if signal.batch else None) == items
    assert np.array_equal(samples(signal), values.T)  # stored numbers, before slope and intercept
    data = volume.write(signal, suffix)
    assert (data[:2] == nifti.GZIP) == (suffix == ".nii.gz")
    back, image = loaded(data), loaded(file)
    assert back.header.binaryblock == image.header.binaryblock
    assert np.array_equal(back.get_fdata(), values * 0.5 - 3)
    assert (back.dataobj.slope, back.dataobj.inter) == (0.5, -3)


def test_big_endian_and_all_dtypes() -> None:
    for dtype in ("uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"):
        values = voxels(dtype=dtype)
        big = nib.Nifti1Image(values, np.eye(4), nib.Nifti1Header(endianness=">"), dtype=dtype).to_bytes()
        signal = volume.read(big)
        assert big[:4] == b"\0\0\x01\x5c" and signal.format.dtype == dtype and signal.values.dtype.isnative
        back = loaded(volume.write(signal, ".nii"))
        assert back.get_data_dtype() == np.dtype(dtype) and np.array_equal(back.get_fdata(), values)
    for dtype, other in (("bool", "uint8"), ("float16", "float32")):  # NIfTI has none such
        signal = Signal.numbers(voxels(dtype=dtype)[..., None], "volume", 3)
        back = loaded(volume.write(signal, ".nii"))
        assert back.get_data_dtype() == np.dtype(other) and np.array_equal(back.dataobj, samples(signal).T)


def test_header_is_stored_in_little_space() -> None:
    def size(file: bytes) -> int:
        info = volume.read(file).format.info
        assert list(info) == ["nifti"]
        return len(zlib.compress(json.dumps(info).encode(), 9, -15))

    assert size(nii(voxels())) <= 170
    assert size(nii(voxels(), np.diag([-2, 2, 2, 1]))) <= 80


def test_uncompressed_nifti_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    for swap in ("<", ">"):
        header = nib.Nifti1Header(endianness=swap)
        nib.Nifti1Image(voxels().astype("f4"), np.eye(4), header, dtype="f4").to_filename(path)
        signal = volume.read(path)
        with path.open("r+b") as file:  # a map sees what is written later; a copy does not
            file.seek(-4, io.SEEK_END)
            file.write(np.array(77, swap + "f4").tobytes())
        assert signal.values[Z - 1, Y - 1, X - 1, 0] == 77


@pytest.mark.parametrize("codes", [(1, 1), (2, 0), (0, 3)])
def test_places_in_space_survive_region_and_scale(codes: tuple[int, int]) -> None:
    signal = volume.read(nii(voxels(), sform_code=codes[0], qform_code=codes[1], slice_end=Z - 1))
    window, shape = [[1, 5], [2, 4], [0, 6]], (8, 1, 4)  # z finer, y coarser, x coarser by 1.5
    image = loaded(volume.write(region(signal, window, shape), ".nii"))
    assert image.shape == shape[::-1] and image.header["slice_end"] == 0
    assert (image.header["sform_code"], image.header["qform_code"]) == codes
    for k in np.ndindex(shape):
        original = [a + (i + 1 / 2) * (b - a) / n - 1 / 2 for i, (a, b), n in zip(k, window, shape, strict=True)]
        place = OBLIQUE @ [*original[::-1], 1]
        for affine, code in zip((image.get_sform(), image.get_qform()), codes, strict=True):
            assert not code or np.allclose(affine @ [*k[::-1], 1], place, atol=1e-4), k
    assert np.allclose(image.header.get_zooms(), np.array([0.8, 1.1, 2.5]) * (1.5, 2, 0.5))
    whole = region(signal, [[0, Z], [0, Y], [0, X]], (Z, Y, X))
    assert volume.write(whole, ".nii")[:352] == volume.write(signal, ".nii")[:352]


def test_nifti_of_two_axes_and_extensions() -> None:
    image = nib.Nifti1Image(voxels(X, Y), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"something"))
    signal = volume.read(image.to_bytes())
    assert signal.shape == (1, Y, X) and signal.notes == ("header extensions left out: 1",)
    assert loaded(volume.write(signal, ".nii")).shape == (X, Y, 1)


def test_nan_is_special_and_all_nan_refused() -> None:
    values = voxels(dtype="float32")
    values[1, 2, 3] = np.nan
    special = volume.read(nii(values)).format.special
    assert special is not None and np.argwhere(special.of(0)).tolist() == [[3, 2, 1, 0]]
    with pytest.raises(UnsupportedInput, match="all 210 samples"):
        volume.read(nii(values * np.nan))


def test_nifti_that_cannot_be_coded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = np.zeros((X, Y, Z), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for values, words in (
        (voxels(X, Y, Z, 1, 3), "three axes"),
        (colour, "'R'"),
        (voxels().astype("c8"), "complex64"),
    ):
        with pytest.raises(UnsupportedInput, match=words):
            volume.read(nii(values, None))
    file = nii(voxels())
    path = tmp_path / "a.nii"
    packed = bytearray(gzip.compress(file))
    packed[-6] ^= 1  # the checksum
    for data in (file[:-1], file[:300], b"xyz", gzip.compress(file)[:-100], gzip.compress(b"x"), bytes(packed)):
        path.write_bytes(data)
        with pytest.raises(UnsupportedInput, match=r"a\.nii"):
            volume.read(path)
    monkeypatch.setattr(stored, "MAX_BYTES", 400)
    with pytest.raises(LimitExceeded, match="420 bytes"):
        volume.read(gzip.compress(file))


def test_flipped_bytes_raise_nothing_but_our_errors(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's would take what else goes to stderr
    for whole, count in ((nii(voxels()), 352), (tiff(np.moveaxis(voxels(), 2, 0)), 400)):
        for _ in range(150):
            data = bytearray(whole)
            data[RNG.integers(count)] = RNG.integers(256)
            try:
                volume.write(volume.read(bytes(data)), ".nii")
            except InrcodecError:
                pass
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int16", "float16", "float32", "float64", "int64"])
@pytest.mark.parametrize("items", [None, 2])
def test_tiff_stack_there_and_back(dtype: str, items: int | None) -> None:
    values = voxels(*([] if items is None else [items]), Z, Y, X, dtype=dtype)
    signal = volume.read(tiff(values, photometric="minisblack"))
    assert signal.shape == (Z, Y, X) and (signal.items if signal.batch else None) == items
    assert np.array_equal(samples(signal), values)
    again = volume.read(volume.write(signal, ".tif"))
    assert again.format == signal.format and again.batch == signal.batch
    assert np.array_equal(samples(again), values)


def test_tiff_that_is_no_stack(tmp_path: Path) -> None:
    pages = io.BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for size in (8, 9):
            writer.write(np.zeros((size, size), "u1"), photometric="minisblack")
    colour = tiff(np.zeros((3, 16, 17, 3), "u1"), photometric="rgb")
    path = tmp_path / "a.tif"
    whole = tiff(voxels(Z, Y, X), compression="zlib", photometric="minisblack")
    half = whole[: len(whole) // 2]
    for data in (pages.getvalue(), colour, tiff(np.zeros((16, 17), "u1")), whole[:50], half):
        path.write_bytes(data)
        with pytest.raises(UnsupportedInput, match=r"a\.tif"):
            volume.read(path)


def test_voxel_size_goes_from_kind_to_kind() -> None:
    signal = volume.read(nii(voxels(), np.diag([0.5, 0.75, 3, 1])))
    with h5py.File(io.BytesIO(volume.write(signal, ".h5"))) as file:
        assert file["values"].attrs["element_size_um"].tolist() == [3000, 750, 500]
    part = region(signal, [[0, 4], [0, Y], [1, 6]], (8, Y, 5))
    for source, spacing in ((signal, [3, 0.75, 0.5]), (part, [1.5, 0.75, 0.5])):
        for suffix in (".tif", ".h5"):
            other = volume.read(volume.write(source, suffix))
            assert np.allclose(other.format.info["spacing"], spacing)
            image = loaded(volume.write(other, ".nii.gz"))
            assert np.allclose(image.affine, np.diag([*spacing[::-1], 1]))
            assert image.header.get_xyzt_units()[0] == "mm"
            assert np.array_equal(image.dataobj, samples(source).T)
    inches = tiff(voxels(Z, Y, X, dtype="uint8"), imagej=True, resolution=(2, 4), metadata={"spacing": 3, "unit": "um"})
    assert volume.read(inches).format.info == {"spacing": [0.003, 0.00025, 0.0005]}
    assert np.array_equal(loaded(volume.write(volume.read(tiff(voxels(Z, Y, X))), ".nii")).affine, np.eye(4))


def test_plain_arrays_as_volumes() -> None:
    values = voxels(6, 5, 4)
    file = io.BytesIO()
    np.save(file, values)
    signal = volume.read(file.getvalue())
    assert (signal.format.modality, signal.shape, signal.format.channels) == ("volume", (6, 5, 4), 1)
    assert np.array_equal(np.load(io.BytesIO(volume.write(signal, ".npy"))), values)
    out = io.BytesIO()
    with h5py.File(out, "w") as archive:
        for name in ("a", "b"):
            archive[name] = values
            archive[name].attrs["units"] = name
    with pytest.raises(UsageError, match="a 6×5×4 int16, b 6×5×4 int16"):
        volume.read(out.getvalue())
    signal = volume.read(out.getvalue(), "b")
    with h5py.File(io.BytesIO(volume.write(signal, ".h5"))) as archive:
        assert np.array_equal(archive["b"], values) and dict(archive["b"].attrs) == {"units": "b"}
    flat = io.BytesIO()
    np.save(flat, values[0])
    with pytest.raises(UnsupportedInput, match="three axes"):
        volume.read(flat.getvalue())
    with pytest.raises(UsageError, match="no variables"):
        volume.read(nii(values), "b")


def test_sniff() -> None:
    for version in (1, 2):
        data = nii(voxels(), version=version)
        assert volume.sniff(data[:4096], "") and volume.sniff(gzip.compress(data)[:4096], "")
    assert volume.sniff(b"", "brain.NII.gz")
    for head in (tiff(voxels(Z, Y, X)), gzip.compress(b"text"), nifti.GZIP + b"junk" * 9, b"\x93NUMPY"):
        assert not volume.sniff(head[:4096], "")
    assert not volume.sniff(b"", "a.tif") and not volume.sniff(b"", "a.gz")


def test_volumes_that_cannot_be_written() -> None:
    colour = Signal.numbers(voxels(4, 4, 4, 3), "volume", 3)
    for suffix in (".nii", ".tif"):
        with pytest.raises(OutputFailed, match="3"):
            volume.write(colour, suffix)
    signal = volume.read(nii(voxels()))
    for info in ({"nifti": ""}, {"nifti": "00ff"}, {"nifti": 7}, {"spacing": "x"}):  # as a hostile stream may claim
        hostile = replace(signal, format=replace(signal.format, info=info))
        for suffix in (".nii", ".tif", ".h5"):
            with pytest.raises(OutputFailed):
                volume.write(hostile, suffix)
