"""Geographic fields: NetCDF4 and HDF5 files in and out."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pytest
import xarray

from inrcodec.errors import LimitExceeded, OutputFailed, UnreadableInput, UnsupportedInput, UsageError
from inrcodec.formats import cf, field
from inrcodec.samples import special
from inrcodec.samples.array import ArrayFormat
from inrcodec.signal import Signal

ENGINES = ("netcdf4", "h5netcdf")
RNG = np.random.default_rng(0)


def hdf5(**datasets: Any) -> bytes:
    """A file of datasets: arrays, or (array, attributes)."""
    file = io.BytesIO()
    with h5py.File(file, "w") as h:
        for name, data in datasets.items():
            data, attributes = data if isinstance(data, tuple) else (data, {})
            h.create_dataset(name, data=data).attrs.update(attributes)
    return file.getvalue()


def grid(values: np.ndarray, **attributes: Any) -> dict[str, Any]:
    """A plain HDF5 file's datasets: values [..., 4, 6] named t with both axes."""
    axes = {"latitude": np.linspace(45, -45, 4, dtype="f4"), "longitude": np.arange(0, 360, 60, dtype="f4")}
    return {"t": (values, attributes), **axes}


def form(signal: Signal) -> ArrayFormat:
    assert isinstance(signal.format, ArrayFormat)
    return signal.format


def packed(path: Path) -> np.ndarray:
    """Write a NetCDF4 file with another library: int16 with fill values, [time 3, level 2, lat 5, lon 8], returned."""
    raw = RNG.integers(-3000, 3000, (3, 2, 5, 8)).astype(np.int16)
    raw[0, 1, 2, 3:5], raw[2, 0, 0, 0] = -32768, -32767
    with netCDF4.Dataset(path, "w") as file:
        file.Conventions, file.title, file.history = "CF-1.6", "a test", "long"
        file.createDimension("bnds", 2)
        for name, kind, values, attributes in (
            ("time", "f8", [15.5, 45, 74], {"units": "days since 2001-01-01", "calendar": "365_day"}),
            ("level", "i4", [1000, 850], {"units": "hPa", "positive": "down"}),
            ("lat", "f8", [-70.1, -31.7, 0.3, 40.2, 88], {"units": "degrees_north"}),
            ("lon", "f4", np.arange(8) * 0.1 + 5, {"units": "degrees_east"}),
        ):
            file.createDimension(name, len(values))
            axis = file.createVariable(name, kind, (name,))
            axis[:] = values
            axis.setncatts(attributes)
        file.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = 0
        t = file.createVariable("t2m", "i2", ("time", "level", "lat", "lon"), fill_value=-32768, zlib=True)
        t.set_auto_maskandscale(False)
        t.setncatts({"missing_value": np.int16(-32767), "units": "K", "scale_factor": 0.01, "add_offset": 273.0})
        t.setncatts({"long_name": "air temperature", "history": "long"})
        t[:] = raw
    return raw


def test_packed_netcdf(tmp_path: Path) -> None:
    raw = packed(tmp_path / "a.nc")
    signal = field.read(tmp_path / "a.nc")
    assert (signal.shape, signal.items) == ((5, 8), 6)
    np.testing.assert_array_equal(signal.values[:], raw.reshape(6, 5, 8, 1))
    assert form(signal).info == {
        "variable": "t2m",
        "latitude": [-70.1, -31.7, 0.3, 40.2, 88],
        "longitude": [5, 0.1],
        "names": ["lat", "lon"],
        "coordinates": "float64",
        "units": "K",
        "scale_factor": 0.01,
        "add_offset": 273,
        "Conventions": "CF-1.6",
        "title": "a test",
        "attributes": {"long_name": "air temperature"},
        "dims": [
            {
                "name": "time",
                "size": 3,
                "units": "days since 2001-01-01",
                "calendar": "365_day",
                "values": [15.5, 45, 74],
            },
            {"name": "level", "size": 2, "units": "hPa", "positive": "down", "values": [1000, -150], "dtype": "int32"},
        ],
    }
    assert form(signal).special == special.find(raw.reshape(6, 5, 8, 1), (-32768, -32767))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.filterwarnings("ignore:variable 't2m' has multiple fill values")
def test_xarray_sees_what_it_saw(tmp_path: Path, engine: Any) -> None:
    packed(tmp_path / "a.nc")
    (tmp_path / "b.nc").write_bytes(field.write(field.read(tmp_path / "a.nc"), ".nc"))
    with (
        xarray.open_dataset(tmp_path / "a.nc", engine=engine) as a,
        xarray.open_dataset(tmp_path / "b.nc", engine=engine) as b,
    ):
        assert int(b.t2m.isnull().sum()) == 3
        # longitudes are float32 in one file and the same decimal numbers as float64 in the other
        xarray.testing.assert_allclose(a.t2m, b.t2m, rtol=1e-7)
        np.testing.assert_array_equal(a.t2m, b.t2m)
        for name in ("time", "level", "lat"):
            xarray.testing.assert_equal(a[name], b[name])
        assert b.attrs == {"Conventions": "CF-1.6", "title": "a test"}
        assert b.t2m.attrs == {"units": "K", "long_name": "air temperature"}
        assert b.t2m.encoding["scale_factor"] == 0.01 and b.t2m.encoding["dtype"] == np.int16
        assert b.lat.attrs["units"] == "degrees_north" and b.lon.attrs["standard_name"] == "longitude"


def test_plain_hdf5(tmp_path: Path) -> None:
    values = RNG.normal(280, 9, (3, 4, 6)).astype(np.float32)
    path = tmp_path / "a.h5"
    path.write_bytes(hdf5(**grid(values, units="K"), source=["x", "y", "z"], time=["1", "2", "3"]))
    signal = field.read(path)
    info = {"variable": "t", "latitude": [45, -30], "longitude": [0, 60], "units": "K"}
    assert signal.format == ArrayFormat("field", 2, "float32", info=info)
    again = field.read(field.write(signal, ".h5"))
    assert again.format == signal.format
    np.testing.assert_array_equal(again.values[:], values[..., None])


def test_indexing() -> None:
    values = RNG.normal(size=(2, 3, 4, 6)).astype(">f4")
    lazy, array = field.read(hdf5(**grid(values))).values, values.reshape(6, 4, 6, 1)
    assert lazy.shape == array.shape and lazy.dtype == np.dtype("=f4")
    keys: list[Any] = [
        3,
        -1,
        np.int64(2),
        ...,
        slice(1, 4),
        (2, slice(1, 3), slice(0, 6, 2)),
        (4, ..., 0),
        (1, 2, slice(0, 3)),
    ]
    for where in [*keys, (slice(None), slice(1, 2), slice(2, 4), 0), (slice(None, None, 2), ..., slice(0, 1))]:
        np.testing.assert_array_equal(lazy[where], array[where])
        assert lazy[where].dtype == np.dtype("=f4")
    with pytest.raises(IndexError):
        lazy[6]
    single = field.read(hdf5(**grid(values[0, 0])))
    assert not single.batch and single.values.shape == (4, 6, 1)
    for where in (..., (slice(1, 3), slice(0, 2)), 2):
        np.testing.assert_array_equal(single.values[where], array[0][where])


def test_other_orders_of_axes(tmp_path: Path) -> None:
    values = RNG.integers(0, 99, (3, 2, 4), np.uint8)
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, n in (("longitude", 3), ("frame", 2), ("latitude", 4)):
            file.createDimension(name, n)
            if name != "frame":
                file.createVariable(name, "f4", (name,))[:] = np.arange(n)
        file.createVariable("v", "u1", ("longitude", "frame", "latitude"))[:] = values
    signal = field.read(tmp_path / "a.nc")
    np.testing.assert_array_equal(signal.values[:][..., 0], values.transpose(1, 2, 0))
    np.testing.assert_array_equal(signal.values[1, 2:3, 1:][..., 0], values.transpose(1, 2, 0)[1, 2:3, 1:])
    assert "order" in signal.notes[0] and "dims" not in form(signal).info  # "frame" is the default
    assert field.read(field.write(signal, ".nc")).notes == ()


def test_values_stay_in_the_file() -> None:
    file = io.BytesIO(hdf5(latitude=np.arange(4), longitude=np.arange(6)))
    with h5py.File(file, "a") as h:
        t = h.create_dataset("t", data=np.ones((2, 4, 6), np.int16), chunks=(1, 4, 6), fletcher32=True)
        place = t.id.get_chunk_info(1).byte_offset
    data = bytearray(file.getvalue())
    data[place] ^= 1
    signal = field.read(bytes(data))
    assert (signal.values[0] == 1).all()
    with pytest.raises(UnsupportedInput, match="damaged"):
        signal.values[1]


# Special samples


def test_special_samples() -> None:
    values = RNG.normal(size=(3, 4, 6)).astype(np.float32)
    values[0, 1, 2], values[1] = np.nan, -9.96921e36  # an item may be missing as a whole
    values[2, 0, :3] = np.inf, -np.inf, 9.96921e36  # netCDF's own mark of what was never written
    signal = field.read(hdf5(**grid(values, missing_value=np.float64(-9.96921e36), _FillValue=np.float32(7))))
    found = form(signal).special
    assert found is not None and found.index.shape == (3, 4, 6, 1)
    out = np.zeros((3, 4, 6, 1), np.float32)
    found.restore(out, found.index)
    np.testing.assert_array_equal(out, np.where(found.index > 0, values[..., None], 0))
    assert int((found.index > 0).sum()) == 1 + 24 + 3

    land = np.broadcast_to(np.arange(24).reshape(4, 6) > 20, (3, 4, 6))  # the same mask for all items: kept once
    found = form(field.read(hdf5(**grid(np.where(land, np.nan, 1.0))))).special
    assert found is not None and found.index.shape == (1, 4, 6, 1) and found.index.sum() == 3
    assert form(field.read(hdf5(**grid(np.ones((3, 4, 6)), _FillValue=5.0)))).special is None
    # marks that the dtype cannot hold mark nothing
    unsigned = hdf5(**grid(np.full((4, 6), 25, np.uint8), missing_value=-999, _FillValue=np.nan))
    assert form(field.read(unsigned)).special is None


def test_nan_becomes_the_fill_value(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(4, 6)
    values[1, 1] = np.nan
    (tmp_path / "a.nc").write_bytes(field.write(field.read(hdf5(**grid(values))), ".nc"))
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert np.isnan(file["t"]._FillValue)
        np.testing.assert_array_equal(np.ma.getmaskarray(file["t"][:]), np.isnan(values))


# Axes


def test_regular_axes_are_two_numbers() -> None:
    assert cf.pack(np.arange(-90, 91, 4, dtype=np.float32), 1e-4) == [-90, 4]
    assert cf.pack(np.linspace(0, 179.8, 900).astype(np.float32), 1e-4) == [0, 0.2]
    assert cf.pack(np.linspace(0, 179.8, 900).astype(np.float32).astype(np.float64), 1e-4) == [0, 0.2]
    twelfths = np.arange(4320) / 12 - 180
    start, step = cf.pack(twelfths, 1e-4)
    np.testing.assert_allclose(start + step * np.arange(4320), twelfths, atol=1e-12)
    # the rounding of float32 is more than 1e-4 of so small a step
    single = twelfths.astype(np.float32)
    np.testing.assert_array_equal(np.array(cf.pack(single, 1e-4), np.float32), single)
    bent = np.arange(10.0)
    bent[5] += 0.9e-4
    assert cf.pack(bent, 1e-4) == [0, 1]
    assert cf.pack(bent) == bent.tolist()  # times have no tolerance
    bent[5] += 0.2e-4
    assert cf.pack(bent, 1e-4) == [0, 1, 2, 3, 4, 5.00011, 6, 7, 8, 9]
    assert cf.pack(np.array([3, 5, 4]), 1e-4) == [3, 5, 4]
    assert cf.pack(np.array([7.5])) == [7.5]
    late = np.array([2**62 + 1, 2**62 + 4, 2**62 + 7])  # no doubles
    assert cf.pack(late) == [2**62 + 1, 3]
    np.testing.assert_array_equal(cf.positions(cf.pack(late), 3), late)


def test_positions_in_a_window() -> None:
    np.testing.assert_allclose(cf.positions([10, 2], 4, (1, 3)), [11.5, 12.5, 13.5, 14.5])
    np.testing.assert_allclose(cf.positions([10, 2], 2, (0, 4)), [11, 15])
    np.testing.assert_allclose(cf.positions([0, 10, 40], 6, (0, 3)), [-2.5, 2.5, 7.5, 17.5, 32.5, 47.5])
    np.testing.assert_allclose(cf.positions([0, 10, 40], 1, (2, 3)), [40])
    np.testing.assert_allclose(cf.positions([5], 2, (0, 1)), [5, 5])
    for n, window in ((4, None), (2, (2, 4)), (2, (2, 2))):
        with pytest.raises(ValueError, match="axis of 3"):
            cf.positions([0, 10, 40], n, window)


@pytest.mark.parametrize("suffix", [".nc", ".h5"])
def test_writing_another_grid(suffix: str) -> None:
    info = {"variable": "t", "latitude": [45, -30], "longitude": [170, 175, 180, -175, -170, -165]}
    window = {"window": [[1, 3], [1, 5]]}
    signal = Signal.numbers(np.ones((3, 4, 8, 1)), "field", 2, info=info | window)
    read = field.read(field.write(signal, suffix))
    assert form(read).info == {"variable": "t", "latitude": [22.5, -15], "longitude": [173.75, 2.5]}
    plain = field.read(
        field.write(replace(signal, values=np.ones((3, 4, 6, 1)), format=replace(form(signal), info=info)), suffix)
    )
    assert form(plain).info == info


@pytest.mark.parametrize("engine", ENGINES)
def test_one_item_has_scalar_coordinates(tmp_path: Path, engine: Any) -> None:
    raw = packed(tmp_path / "a.nc")
    signal = field.read(tmp_path / "a.nc")
    item = replace(form(signal), info=form(signal).info | {"item": 3}, special=None)
    (tmp_path / "b.nc").write_bytes(field.write(Signal(signal.values[3], item), ".nc"))
    with xarray.open_dataset(tmp_path / "b.nc", engine=engine) as file:
        assert file.t2m.dims == ("lat", "lon")
        assert int(file.level) == 850 and set(file.t2m.coords) == {"lat", "lon", "time", "level"}
        assert str(file.time.values[()]) == "2001-02-15 00:00:00"
        np.testing.assert_allclose(file.t2m, raw[1, 1] * 0.01 + 273)


# Recognition


def test_recognition(tmp_path: Path) -> None:
    climate, other = hdf5(**grid(np.ones((4, 6)))), hdf5(cube=np.ones((4, 4, 4)))
    assert not field.sniff(climate, "") and not field.sniff(climate, "a.h5") and field.sniff(climate, "A.NC")
    assert field.sniff(b"CDF\x02\0\0", "") and not field.sniff(b"CDF files", "")
    assert field.claims(climate) and field.claims(b"CDF\x01") and not field.claims(other)
    assert not field.claims(b"something else") and not field.claims(climate[:200])
    with pytest.raises(UnreadableInput):
        field.claims(tmp_path)


@pytest.mark.parametrize(
    ("names", "attributes", "known"),
    [
        (("lat", "lon"), ({}, {}), True),
        (("Latitude", "LONGITUDE"), ({}, {}), True),
        (("y", "x"), ({"units": "degrees_north"}, {"units": "degree_E"}), True),
        (("y", "x"), ({"standard_name": "latitude"}, {"standard_name": "longitude"}), True),
        (("y", "x"), ({}, {}), False),
        (("rlat", "rlon"), ({"units": "degrees"}, {"units": "degrees"}), False),
        (("lat", "lon"), ({"standard_name": "grid_latitude"}, {"standard_name": "grid_longitude"}), False),
    ],
)
def test_names_of_axes(names: tuple[str, str], attributes: tuple[dict, dict], known: bool) -> None:
    axes = {name: (np.arange(n), a) for name, n, a in zip(names, (4, 6), attributes, strict=True)}
    assert field.claims(hdf5(t=np.ones((4, 6)), **axes)) == known


def test_dimensions_without_coordinates(tmp_path: Path) -> None:
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, n in (("lat", 4), ("lon", 6)):
            file.createDimension(name, n)
        file.createVariable("v", "f4", ("lat", "lon"))[:] = 1
    with pytest.raises(UnsupportedInput, match="no variable lies on latitude and longitude axes"):
        field.read(tmp_path / "a.nc")


def test_choice_of_variable() -> None:
    data = hdf5(**grid(np.ones((3, 4, 6)), units="K"), **{"g/v": np.ones((4, 6)), "u": np.ones((4, 6))}, n=np.ones(3))
    with pytest.raises(UsageError, match=r"2 variables; choose one with --variable: t \(3, 4, 6\) K; u \(4, 6\)$"):
        field.read(data)  # the axes are not in the group of g/v
    with pytest.raises(UsageError, match=r"no variable w; choose one with --variable: t"):
        field.read(data, "w")
    with pytest.raises(UnsupportedInput, match=r"variable n does not lie on .*--modality array"):
        field.read(data, "n")
    assert form(field.read(data, "/u")).info["variable"] == "u"


def test_refusals() -> None:
    good = hdf5(**grid(np.ones((3, 4, 6))))
    with pytest.raises(UnsupportedInput, match="nccopy -4"):
        field.read(b"CDF\x01\0\0\0\0")
    with pytest.raises(UnsupportedInput, match="neither NetCDF4 nor HDF5"):
        field.read(b"plain text")
    for end in (20, 900, len(good) // 2):
        with pytest.raises(UnsupportedInput, match="the input: damaged"):
            field.read(good[:end])
    with pytest.raises(UnsupportedInput, match="rotated and curvilinear.*--modality array"):
        field.read(hdf5(t=np.ones((4, 6)), lat=np.ones((4, 6)), lon=np.ones((4, 6))))
    with pytest.raises(UnsupportedInput, match="the input: all 72 samples are missing"):
        field.read(hdf5(**grid(np.full((3, 4, 6), np.nan))))
    with pytest.raises(UnsupportedInput, match="no samples"):
        field.read(hdf5(**grid(np.ones((0, 4, 6)))))
    with pytest.raises(UnsupportedInput, match="scale_factor is not a number"):
        field.read(hdf5(**grid(np.ones((4, 6)), scale_factor="0.1")))
    for factor in (0.0, 1e-310):
        with pytest.raises(UnsupportedInput, match="scale_factor of t is"):
            field.read(hdf5(**grid(np.ones((4, 6)), scale_factor=factor)))
    with pytest.raises(UnsupportedInput, match="latitude of t is not a number"):
        field.read(hdf5(**(grid(np.ones((4, 6))) | {"latitude": np.array([1, 2, np.nan, 4])})))
    with pytest.raises(LimitExceeded, match="more than 71 samples"):
        field.read(good, max_samples=71)


# Writing


@pytest.mark.parametrize(("dtype", "netcdf"), [("bool", "int8"), ("float16", "float32"), ("uint64", "uint64")])
def test_dtypes(dtype: str, netcdf: str) -> None:
    values = RNG.integers(0, 2, (4, 6, 1)).astype(dtype)
    signal = Signal.numbers(values, "field", 2, info={"variable": "v", "latitude": [0, 1], "longitude": [0, 1]})
    for suffix, expected in ((".nc", netcdf), (".hdf5", dtype)):
        read = field.read(field.write(signal, suffix))
        assert form(read).dtype == expected
        np.testing.assert_array_equal(read.values[...], values)


def test_names_along_an_axis(tmp_path: Path) -> None:
    info = {"variable": "v", "latitude": [0, 1], "longitude": [0, 1], "dims": [{"name": "run", "values": ["a", "bé"]}]}
    data = field.write(Signal.numbers(np.ones((2, 4, 6, 1)), "field", 2, info=info), ".nc")
    assert form(field.read(data)).info == info
    (tmp_path / "a.nc").write_bytes(data)
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        assert file["run"][:].tolist() == ["a", "bé"]


def test_npy() -> None:
    values = RNG.normal(size=(2, 4, 6)).astype(np.float32)
    written = np.load(io.BytesIO(field.write(field.read(hdf5(**grid(values))), ".npy")))
    np.testing.assert_array_equal(written, values)
    written = np.load(io.BytesIO(field.write(field.read(hdf5(**grid(values[0]))), ".npy")))
    np.testing.assert_array_equal(written, values[0])


@pytest.mark.parametrize(
    "wrong",
    [{"latitude": [1, 2, 3]}, {"longitude": "x"}, {"dims": [{"size": 5}]}, {"variable": None}, {"window": [[0, 4]]}],
)
def test_info_that_does_not_fit(wrong: dict[str, Any]) -> None:
    info = {"variable": "v", "latitude": [0, 1], "longitude": [0, 1]}
    with pytest.raises(OutputFailed, match="cannot write this field as .nc|2 items do not fill"):
        field.write(Signal.numbers(np.ones((2, 4, 6, 1)), "field", 2, info=info | wrong), ".nc")
    with pytest.raises(OutputFailed, match="not 3"):
        field.write(Signal.numbers(np.ones((4, 6, 3)), "field", 2, info=info), ".nc")


# Units


def test_temperature() -> None:
    at = {"latitude": [0, 1], "longitude": [0, 1]}
    for units in ("K", "kelvin", "degK", "Kelvin"):
        assert cf.is_temperature(at | {"units": units}) == (0, 1)
    for units in ("degC", "celsius", "deg_C", "degrees_C", "Celsius", "°C", "degree_Celsius"):
        offset, scale = cf.is_temperature(at | {"units": units, "scale_factor": 0.5, "add_offset": 10}) or (0, 0)
        assert offset + scale * 40 == pytest.approx(303.15)
    for units in ("k", "C", "K m s-1", "degF", ""):
        assert cf.is_temperature(at | {"units": units}) is None
    assert cf.is_temperature(at) is None and cf.is_temperature({"units": "K"}) is None
