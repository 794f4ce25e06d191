"""Reading and writing of plain arrays."""

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from inrcodec.errors import InputNotFound, InrcodecError, LimitExceeded, OutputFailed, UnsupportedInput, UsageError
from inrcodec.formats import array, stored
from inrcodec.samples.array import DTYPES, ArrayFormat
from inrcodec.signal import Signal

RNG = np.random.default_rng(4)


def numbers(shape: tuple[int, ...], dtype: str = "float32") -> np.ndarray:
    """Samples over much of the range of a dtype."""
    if dtype == "bool":
        return RNG.random(shape) < 0.5
    if np.dtype(dtype).kind == "f":
        return RNG.normal(0, 10, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def npy(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def npz(**values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **values)
    return file.getvalue()


def h5(attributes: dict[str, Any] | None = None, **values: Any) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        for path, data in values.items():
            dataset = out.create_dataset(path.replace("__", "/"), data=data)
            dataset.attrs.update(attributes or {})
    return file.getvalue()


def loaded(data: bytes, suffix: str) -> np.ndarray:
    """The only array of a file, by numpy and h5py alone."""
    if suffix == ".npy":
        return np.load(io.BytesIO(data))
    if suffix == ".npz":
        archive = np.load(io.BytesIO(data))
        return archive[archive.files[0]]
    with h5py.File(io.BytesIO(data)) as file:
        return file["values"][...]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("suffix", array.SUFFIXES)
def test_every_dtype_there_and_back(dtype: str, suffix: str) -> None:
    values = numbers((5, 7), dtype)
    signal = array.read(npy(values.astype(np.dtype(dtype).newbyteorder(">"))))
    assert signal.format == ArrayFormat("array", 2, dtype)
    assert signal.values.dtype == np.dtype(dtype) and signal.values.dtype.isnative
    assert np.array_equal(np.asarray(signal.values[...])[..., 0], values)
    back = loaded(array.write(signal, suffix), suffix)
    assert back.dtype == values.dtype and np.array_equal(back, values)


@pytest.mark.parametrize(
    ("shape", "grid", "channels", "items"),
    [
        ((9,), (9,), 1, None),
        ((3,), (3,), 1, None),
        ((9, 2), (9,), 2, None),
        ((9, 5), (9, 5), 1, None),
        ((9, 1), (9, 1), 1, None),
        ((6, 5, 4), (6, 5), 4, None),
        ((4, 6, 5), (4, 6, 5), 1, None),
        ((4, 6, 5, 3), (4, 6, 5), 3, None),
        ((2, 4, 6, 5), (4, 6, 5), 1, 2),
        ((1, 4, 6, 5), (4, 6, 5), 1, 1),
        ((2, 4, 6, 5, 3), (4, 6, 5), 3, 2),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_axes(shape: tuple[int, ...], grid: tuple[int, ...], channels: int, items: int | None, suffix: str) -> None:
    values = numbers(shape)
    file = {".npy": npy(values), ".npz": npz(values=values), ".h5": h5(values=values)}[suffix]
    signal = array.read(file)
    assert (signal.shape, signal.format.channels) == (grid, channels)
    assert (signal.items if signal.batch else None) == items
    assert bool(signal.notes) == (channels > 1) and all("channels" in note for note in signal.notes)
    assert np.array_equal(loaded(array.write(signal, suffix), suffix), values)


def test_fortran_order_and_paths(tmp_path: Path) -> None:
    values = np.asfortranarray(numbers((5, 6, 7)))
    path = tmp_path / "a.npy"
    np.save(path, values)
    for source in (path, path.read_bytes()):
        assert np.array_equal(np.asarray(array.read(source).values[...])[..., 0], values)


@pytest.mark.parametrize("kind", ["<f4", ">f4"])
def test_npy_is_mapped(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, numbers((6, 7, 8)).astype(kind))
    signal = array.read(path)
    with path.open("r+b") as file:  # a map sees what is written later; a copy does not
        file.seek(-4, io.SEEK_END)
        file.write(np.array(77, kind).tobytes())
    assert signal.values[5, 6, 7, 0] == 77


def test_hdf5_is_read_as_it_is_indexed(tmp_path: Path) -> None:
    values = numbers((2, 6, 7, 8), "int16")
    path = tmp_path / "a.h5"
    path.write_bytes(h5(values=values.astype(">i2")))
    lazy = array.read(path).values
    assert not isinstance(lazy, np.ndarray)
    full = values[..., None]
    assert lazy.shape == full.shape and lazy.dtype == np.dtype("int16")
    everything: list[Any] = [..., 1, slice(1, 2), (1, slice(2, 5)), (1, ..., 0), (..., slice(0, 1)), (0, 1, 2, 3, 0)]
    for where in everything:
        assert np.array_equal(lazy[where], full[where]), where
    with pytest.raises((IndexError, ValueError)):
        lazy[2]


def test_variables() -> None:
    both = {"a__b": numbers((5, 6)), "c": numbers((7,), "int8")}
    zipped = npz(**{"a/b": both["a__b"], "c": both["c"]})
    for file in (zipped, h5(**both)):
        with pytest.raises(UsageError, match=r"a/b 5×6 float32, c 7 int8"):
            array.read(file)
        with pytest.raises(UsageError, match=r"no variable 'd'.*a/b 5×6"):
            array.read(file, "d")
        signal = array.read(file, "a/b")
        assert signal.shape == (5, 6) and signal.format.info == {"variable": "a/b"}
        suffix = ".npz" if file is zipped else ".h5"
        again = array.read(array.write(signal, suffix))  # one array now, of the same name
        assert again.format == signal.format
    assert array.read(h5(**both), "/a/b").shape == (5, 6)
    with pytest.raises(UsageError, match="no variables"):
        array.read(npy(both["c"]), "c")


def test_labels_and_scalars_beside_the_array_need_no_choice() -> None:
    values = numbers((5, 6))
    assert array.read(h5(values=values, names=[b"a", b"b"], count=3)).format.info == {"variable": "values"}
    assert array.read(npz(values=values, names=np.array(["a"]), count=np.array(3))).shape == (5, 6)


def test_attributes_come_back() -> None:
    simple = {
        "units": "K",
        "scale": 0.5,
        "count": 3,
        "flag": True,
        "range": np.array([1.5, 2.5]),
        "old": np.bytes_("x"),
    }
    others = {"long": "x" * 1000, "gap": np.nan, "none": h5py.Empty("f4")}
    signal = array.read(h5(simple | others, values=numbers((5, 6))))
    assert signal.notes == ("attributes left out, too long or not simple: gap, long, none",)
    with h5py.File(io.BytesIO(array.write(signal, ".hdf5"))) as file:
        back = dict(file["values"].attrs)
    assert set(back) == set(simple)
    assert (back["units"], back["scale"], back["count"], back["flag"], back["old"]) == ("K", 0.5, 3, True, "x")
    assert back["range"].tolist() == [1.5, 2.5]


def test_special_samples() -> None:
    values = numbers((5, 6, 7))
    assert array.read(npy(values)).format.special is None
    values[0, 0, :4] = np.nan, np.inf, -np.inf, np.nan
    special = array.read(npy(values)).format.special
    assert special is not None and special.index[0, 0, 0, :5, 0].tolist() == [1, 2, 3, 1, 0]
    batch = numbers((2, 3, 5, 6))
    batch[1, 0, 0, 0] = np.nan
    special = array.read(h5(values=batch)).format.special
    assert special is not None and special.index.shape == (2, 3, 5, 6, 1) and special.index.sum() == 1
    integers = np.arange(12, dtype="int16").reshape(2, 6)
    integers[1, 5] = -999
    signal = array.read(h5({"_FillValue": np.int16(-999)}, values=integers))
    special = signal.format.special
    assert special is not None and special.kinds.tolist() == [-999] and special.of(0)[1, 5, 0] == 1
    with h5py.File(io.BytesIO(array.write(signal, ".h5"))) as file:
        assert file["values"].attrs["_FillValue"].dtype == np.int16


def test_special_samples_are_found_across_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "SLAB", 20)
    values = numbers((9, 7))
    values[8, 6] = np.nan
    special = array.read(npy(values)).format.special
    assert special is not None and np.argwhere(special.of(0)).tolist() == [[8, 6, 0]]


@pytest.mark.parametrize("dtype", ["complex64", "datetime64[s]", "U3", "f4,i2", "S4"])
def test_unsupported_dtypes_are_named(tmp_path: Path, dtype: str) -> None:
    values = np.zeros((5, 6), dtype)
    path = tmp_path / "a.npy"
    np.save(path, values)
    files: list[Path | bytes] = [npy(values), npz(values=values), path]
    if values.dtype.kind not in "UM":
        files.append(h5(values=values))
    for file in files:
        with pytest.raises(UnsupportedInput) as caught:
            array.read(file)
        assert str(values.dtype) in str(caught.value)


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("sprung").touch, ())

    ragged = np.array([[1, 2], [3]], object)
    for values in (ragged, np.array([Trap(), Trap()])):
        for file in (npy(values, allow_pickle=True), npz(values=values)):
            with pytest.raises(UnsupportedInput, match="object"):
                array.read(file)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((5, 6), np.nan), "all 30 samples"),
        (np.zeros((0, 4)), "no samples"),
        (np.float32(3), "no grid"),
        (np.zeros((2, 2, 2, 5, 5)), "no grid"),
    ],
)
def test_arrays_that_cannot_be_coded(tmp_path: Path, values: np.ndarray, words: str) -> None:
    path = tmp_path / "odd name"
    for file in (npy(values), npz(values=values), h5(values=values)):
        path.write_bytes(file)
        with pytest.raises(UnsupportedInput, match=f"odd name: .*{words}"):
            array.read(path)


def test_damaged_files(tmp_path: Path) -> None:
    values = numbers((9, 11))
    whole = npy(values)
    negative = whole.replace(b"(9, 11), }", b"(-1,), }  ")
    huge = whole.replace(b"(9, 11), }     ", b"(9" + b"0" * 8 + b",), }")
    assert len(negative) == len(huge) == len(whole) and whole not in (negative, huge)
    files = [whole[:-1], whole[:60], b"\x93NUMPY", negative, huge, npz(), b"PK\x03\x04junk", b"nothing at all"]
    files += [npz(values=values)[:200], h5(values=values)[:900], array.hdf5.MAGIC, h5()]
    for data in files:
        path = tmp_path / "a"
        path.write_bytes(data)
        for source in (data, path):
            with pytest.raises(UnsupportedInput):
                array.read(source)
    with pytest.raises(InputNotFound):
        array.read(tmp_path / "missing.npy")


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_flipped_bytes_raise_nothing_but_our_errors(kind: str) -> None:
    whole = {"npy": npy, "npz": lambda v: npz(values=v), "h5": lambda v: h5(values=v)}[kind](numbers((4, 5)))
    for _ in range(150):
        data = bytearray(whole)
        data[RNG.integers(min(len(data), 600))] = RNG.integers(256)
        try:
            np.asarray(array.read(bytes(data)).values[...])
        except InrcodecError:
            pass


def test_damaged_samples_of_a_lazy_array() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as out:
        chunk = out.create_dataset("values", data=numbers((8, 9), "uint8"), chunks=(8, 9), compression="gzip")
        place = chunk.id.get_chunk_info(0).byte_offset
    data = bytearray(file.getvalue())
    data[place : place + 20] = bytes(20)
    signal = array.read(bytes(data))
    with pytest.raises(UnsupportedInput, match="the input: damaged"):
        signal.values[0]


def test_members_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MAX_BYTES", 100)
    with pytest.raises(LimitExceeded, match="the limit is 100"):
        array.read(npz(values=numbers((50,))))


def test_sniff() -> None:
    values = numbers((5,))
    for data in (npy(values), npz(values=values), h5(values=values)):
        assert array.sniff(data[:4096], "")
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("document.xml", "<a/>")
    assert not array.sniff(other.getvalue(), "")
    assert not array.sniff(b"\x89PNG\r\n\x1a\n", "a.png")
    assert array.sniff(other.getvalue(), "a.NPZ")


def test_writing_from_lazy_values_and_errors() -> None:
    batch = numbers((2, 4, 5, 6))
    signal = array.read(h5(values=batch))
    for suffix in (".npy", ".npz", ".h5"):
        assert np.array_equal(loaded(array.write(signal, suffix), suffix), batch)
    bad = Signal.numbers(numbers((5,)), info={"variable": "a", "attributes": {"b": {"no": "table"}}})
    with pytest.raises(OutputFailed, match="'a'"):
        array.write(bad, ".h5")
    beyond = {"variable": "a", "attributes": {"_FillValue": 300}}
    with pytest.raises(OutputFailed, match="300"):
        array.write(Signal.numbers(np.zeros(5, np.uint8), info=beyond), ".h5")


def test_arrays_left_out_are_named(tmp_path: Path) -> None:
    whole, path = numbers((4, 5)), tmp_path / "a.npz"
    np.savez(path, a=whole, names=np.array(["x", "y"]))
    assert array.read(path).notes == ("only a is coded; left out: names",)
    assert array.read(path, "a").notes == ()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = whole
        for k in range(9):
            file[f"s{k}"] = "text"
    assert array.read(tmp_path / "a.h5").notes == ("only a is coded; left out: s0, s1, s2, s3, s4, s5, and 3 more",)
