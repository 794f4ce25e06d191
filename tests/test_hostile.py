"""Input that somebody made to do harm: it ends in a named error or in a correct decode, soon and in bounded memory."""

import gzip
import importlib
import io
import json
import random
import re
import struct
import sys
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from fuzz import mutation, seeds, targets, watch
from fuzz.watch import BAD, Tally, feed, feed_all
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inrcodec import codec, container, formats
from inrcodec.errors import CorruptStream, InrcodecError, OutputFailed, UnsupportedInput
from inrcodec.formats import array, audio, field, image, shape, video, volume
from inrcodec.samples.array import ArrayFormat
from inrcodec.samples.video import VideoFormat
from inrcodec.signal import Signal

SECURITY = Path(__file__).parent.parent / "docs" / "security.md"
REFUSED = {"UnsupportedInput", "LimitExceeded"}

rngs = st.randoms(use_true_random=False)
slow = settings(max_examples=40, deadline=None)
quick = settings(max_examples=300, deadline=None)


@pytest.fixture(scope="module", autouse=True)
def limited() -> Iterator[None]:
    with targets.networks_kept():
        for stream in seeds.streams():
            targets.decode(stream)
        with watch.limits():
            yield


# Streams


@quick
@given(rngs)
def test_no_damage_passes(rng: random.Random) -> None:
    data = mutation.damaged(rng.choice(seeds.streams()), seeds.streams(), rng)
    assume(data not in seeds.streams())
    outcome, reason = feed(targets.decode, data)
    assert outcome not in ("done", *BAD), reason


@slow
@given(rngs, st.sampled_from([targets.decode, targets.enlarge, targets.read_container]))
def test_damage_with_the_check_sum_repaired(rng: random.Random, target: Callable[[bytes], Any]) -> None:
    data = targets.either(rng.choice(seeds.streams()), seeds.streams(), rng)
    outcome, reason = feed(target, data)
    assert outcome not in BAD, reason


headers = st.builds(
    container.Header,
    method=st.sampled_from(sorted(container.METHODS.values())),
    modality=st.sampled_from(sorted(container.MODALITIES.values())),
    model_id=st.sampled_from([container.read_header(data)[0].model_id for data in seeds.streams()]),
    shape=st.lists(st.sampled_from(mutation.SIDES), min_size=1, max_size=4).map(tuple),
    samples=st.integers(0, 255),
    operating_point=st.integers(0, 255),
    block=st.sampled_from([b"", *(container.read_header(data)[0].block for data in seeds.streams())]),
    items=st.sampled_from([None, 1, 2, 1 << 20]),
    residual=st.booleans(),
)


@quick
@given(headers, st.lists(st.binary(max_size=40), max_size=12))
def test_headers_at_random(header: container.Header, sections: list[bytes]) -> None:
    outcome, reason = feed(targets.decode, container.write(header, sections))
    assert outcome not in BAD, reason


@slow
@given(st.sampled_from(seeds.streams()), st.floats(0, 1))
def test_previews_of_any_length(stream: bytes, share: float) -> None:
    import inrcodec

    end = int(share * len(stream))
    outcome, reason = feed(lambda data: inrcodec.decode(data, preview=True, device="cpu"), stream[:end])
    assert outcome not in BAD, reason


@pytest.mark.parametrize("name", targets.TARGETS)
def test_bounded_run(name: str) -> None:
    target, tally = targets.TARGETS[name], Tally(name)
    feed_all(target.run, target.seeds(), tally)
    feed_all(target.run, islice(mutation.endless(target.seeds(), target.mutate, 7), 50), tally)
    assert not tally.bad, tally.failures
    assert tally.outcomes["done"] >= 5


def test_the_harness_sees_what_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SECONDS", 0.2)

    def fail(data: bytes) -> None:
        match data:
            case b"crash":
                raise KeyError(3)
            case b"memory":
                bytearray(2 * watch.MEMORY)
            case b"hang":
                while True:
                    pass

    assert [feed(fail, kind)[0] for kind in (b"crash", b"memory", b"hang", b"")] == ["crash", "memory", "hang", "done"]


def test_a_network_for_other_axes_or_channels() -> None:
    by_name = {path.stem: path.read_bytes() for path in Path(__file__).parent.glob("vectors/*.inr")}
    wanted, other = container.read_header(by_name["rgb"])[0], container.read_header(by_name["sound"])[0]
    sections = container.read(by_name["rgb"])[1]
    for model_id in (other.model_id, container.read_header(by_name["holes"])[0].model_id):
        with pytest.raises(CorruptStream, match="base network .* is for"):
            targets.decode(container.write(replace(wanted, model_id=model_id), sections))


def description(info: str, channels: int = 1) -> bytes:
    deflated = zlib.compress(info.encode(), 9, -15)
    return struct.pack("<dfB", 0, 1, channels) + len(deflated).to_bytes(3, "little") + deflated


@pytest.mark.parametrize(
    "info",
    [
        '{"latitude":[0,NaN]}',
        '{"latitude":[0,1e999]}',
        '{"longitude":[-Infinity,1]}',
        '{"longitude":[1,2,3]}',
        '{"longitude":5}',
        '{"longitude":"ab"}',
        '{"latitude":[1e308,1]}',
        '{"latitude":[%s,1]}' % ("9" * 400),
        "[" * 100000,
        "[]",
        '{"a":1}{',
    ],
)
def test_descriptions_that_are_none(info: str) -> None:
    with pytest.raises(CorruptStream):
        ArrayFormat.from_header("field", 10, description(info), (4, 5), 1)


@pytest.mark.parametrize("axis", [None, 5, 0.5, True, "ab"])
def test_arrays_may_say_anything_of_longitudes(axis: object) -> None:
    """Only fields have places; a sealed mutant of 200,000 had another modality."""
    ramp = np.linspace(0, 1, 160, dtype=np.float32).reshape(4, 40, 1)
    signal = Signal.numbers(ramp, "array", dims=2, info={"longitude": axis})
    data = codec.compress(signal, codec.Settings(model="tiny-plane", effort=0)).data
    assert codec.decode(data, scale=2).shape == (8, 80, 1)


def test_no_channels_do_not_unpack_without_limit() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = deflate.compress(bytes(1 << 24)) + deflate.flush(zlib.Z_FULL_FLUSH)
    bomb = b"\x01" + bytes(4) + 96 * piece + deflate.flush()
    assert feed(lambda block: ArrayFormat.from_header("array", 10, block, (4,), 1), description("{}", 0) + bomb) == (
        "CorruptStream",
        "0 channels; 1 to 255 may be",
    )


# Files that lead to other files


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that Python code opens from now on."""
    names: list[str] = []
    _WATCHERS[:] = [names]
    return names


_WATCHERS: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _WATCHERS:
        _WATCHERS[0].append(str(arguments[0]))


sys.addaudithook(_audit)


def h5(path: Path) -> h5py.File:
    return h5py.File(path, "w")


def test_hdf5_samples_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(200)) * 4)
    with h5(tmp_path / "other.h5") as other:
        other["x"] = np.arange(50.0)
    with h5(tmp_path / "external.h5") as file:
        file.create_dataset("x", (50,), "f8", external=[(str(tmp_path / "secret"), 0, 400)])
    with h5(tmp_path / "virtual.h5") as file:
        layout = h5py.VirtualLayout((50,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (50,))
        file.create_virtual_dataset("x", layout)
    for name in ("external.h5", "virtual.h5"):
        with pytest.raises(UnsupportedInput, match="/x lie in other files"):
            array.read(tmp_path / name)
    with h5(tmp_path / "link.h5") as file:
        file["far"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        file["y"] = np.arange(9.0)
    assert array.read(tmp_path / "link.h5").shape == (9,)
    for module in (array, field):
        with pytest.raises(InrcodecError, match="far/x|no variable"):
            module.read(tmp_path / "link.h5", variable="far/x")


def test_netcdf_axes_in_other_files(tmp_path: Path) -> None:
    (tmp_path / "degrees").write_bytes(np.linspace(80, 10, 8).tobytes())
    with h5(tmp_path / "far.nc") as file:
        file["t"] = np.zeros((8, 12))
        file["lon"] = np.arange(12.0)
        file.create_dataset("lat", (8,), "f8", external=[(str(tmp_path / "degrees"), 0, 64)])
    with pytest.raises(UnsupportedInput, match="/lat lie in other files"):
        field.read(tmp_path / "far.nc")


def test_tiff_that_names_other_files(tmp_path: Path, opened: list[str]) -> None:
    pages = np.zeros((3, 8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "other.ome.tif", pages, photometric="minisblack")
    parts = "".join(
        f'<TiffData FirstZ="{z}"><UUID FileName="other.ome.tif">urn:uuid:{z}</UUID></TiffData>' for z in range(3)
    )
    pixels = f'<Pixels DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeZ="3" SizeC="1" SizeT="1">{parts}'
    text = f'<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org"><Image>{pixels}</Pixels></Image></OME>'
    tifffile.imwrite(tmp_path / "a_MMStack.ome.tif", pages, description=text, metadata=None, photometric="minisblack")
    (tmp_path / "NDTiff.index").write_bytes(bytes(99))
    opened.clear()
    assert volume.read(tmp_path / "a_MMStack.ome.tif").shape == (3, 8, 9)
    assert {Path(name).name for name in opened if str(tmp_path) in name} == {"a_MMStack.ome.tif"}


def glb(header: dict[str, Any], binary: bytes = b"") -> bytes:
    text = json.dumps({"asset": {"version": "2.0"}} | header).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary if binary else b""
    return b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks


TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()


def triangle(**accessor: Any) -> dict[str, Any]:
    """A GLB header of one mesh of one triangle; and one more array."""
    points = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}
    return {
        "buffers": [{"byteLength": len(TRIANGLE)}],
        "bufferViews": [{"buffer": 0, "byteLength": len(TRIANGLE)}],
        "accessors": [points, accessor] if accessor else [points],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 4}]}],
        "nodes": [{"mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "scene": 0,
    }


def test_meshes_that_name_other_files(tmp_path: Path, opened: list[str]) -> None:
    (tmp_path / "secret.png").write_bytes(seeds.images()[0])
    (tmp_path / "secret.mtl").write_text("newmtl a\nmap_Kd secret.png\n")
    files = {
        "a.obj": b"mtllib secret.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
        b"f 1 3 2\nf 1 2 4\nf 2 3 4\nf 1 4 3\n",
        "b.ply": seeds.shapes()[0].replace(b"comment", b"comment TextureFile secret.png\ncomment", 1),
        "c.glb": glb(triangle() | {"buffers": [{"byteLength": 36, "uri": "secret.png"}]}),
        "d.glb": glb(triangle() | {"images": [{"uri": "secret.png"}], "textures": [{"source": 0}]}, TRIANGLE),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        opened.clear()
        try:
            shape.read(tmp_path / name, resolution=16)
        except UnsupportedInput:
            assert name.endswith(".glb")
        assert {Path(n).name for n in opened if str(tmp_path) in n} == {name}


@pytest.mark.parametrize(
    "kind", ["ffconcat version 1.0\nfile {0}\n", "#EXTM3U\n#EXTINF:1,\n{0}\n", "v=0\nc=IN IP4 {0}\n"]
)
def test_playlists_are_no_films(tmp_path: Path, kind: str) -> None:
    (tmp_path / "secret.mkv").write_bytes(seeds.films()[0])
    (tmp_path / "list.mkv").write_text(kind.format(tmp_path / "secret.mkv"))
    with pytest.raises(UnsupportedInput):
        video.read(tmp_path / "list.mkv")


# Sizes that lie, and files that unpack to far more than they are


def refused(read: Callable[[bytes], Any], data: bytes) -> str:
    outcome, reason = feed(read, data)
    assert outcome in REFUSED, (outcome, reason)
    return reason


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    samples = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", samples) + chunk(b"IEND", b"")


def test_a_picture_of_100000_by_100000() -> None:
    assert "10000000000 pixels" in refused(formats.read, png(100_000, 100_000))


def test_a_tiff_of_many_samples_a_pixel() -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((4, 5, 40), np.uint16), photometric="minisblack", planarconfig="contig")
    assert "40 samples per pixel" in refused(image.read, out.getvalue())


def looped(pages: int, back: int, **options: Any) -> bytes:
    """A TIFF file of which the last page leads back to another."""
    out = io.BytesIO()
    tifffile.imwrite(out, np.zeros((pages, 4, 5), np.uint16), photometric="minisblack", metadata=None, **options)
    with tifffile.TiffFile(io.BytesIO(out.getvalue())) as file:
        form, places = file.tiff, [page.offset for page in file.pages]
    data = bytearray(out.getvalue())
    at = places[-1] + form.tagnosize
    at += form.tagsize * int.from_bytes(data[places[-1] : at], "big" if options.get("byteorder") == ">" else "little")
    struct.pack_into(form.offsetformat, data, at, places[back])
    return bytes(data)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
@pytest.mark.parametrize("pages", [1, 3, 120])
def test_tiff_pages_that_lead_back(options: dict[str, Any], pages: int, tmp_path: Path) -> None:
    data = looped(pages, pages // 2, **options)
    (tmp_path / "x.tif").write_bytes(data)
    for read in (image.read, volume.read):
        assert "pages take more than" in refused(read, data)
        with pytest.raises(UnsupportedInput, match="pages take more than"):
            read(tmp_path / "x.tif")


def test_tiff_pages_that_share_many_others() -> None:
    out = io.BytesIO()
    extra = [(65000, 4, 5000, [8] * 5000, True)]
    tifffile.imwrite(out, np.zeros((4, 5), np.uint16), photometric="minisblack", extratags=extra)
    data = out.getvalue().replace(struct.pack("<HHI", 65000, 4, 5000), struct.pack("<HHI", 330, 4, 5000))
    assert data != out.getvalue() and "pages take more than" in refused(volume.read, data)


def npy(shape: tuple[int, ...], data: bytes = b"") -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue() + data


def test_an_npy_file_that_lies() -> None:
    refused(formats.read, npy((1 << 20, 1 << 20), bytes(100)))
    refused(formats.read, npy((1 << 62, 1 << 62), bytes(100)))


def test_npz_bombs() -> None:
    def npz(member: bytes, kind: int) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", kind) as archive:
            archive.writestr("x.npy", member)
        return out.getvalue()

    lies = bytearray(npz(npy((1 << 28,), bytes(4096)), zipfile.ZIP_DEFLATED))
    at = lies.index(b"PK\x01\x02")
    lies[at + 24 : at + 28] = (1 << 30).to_bytes(4, "little")
    assert "cannot hold them" in refused(array.read, bytes(lies))
    assert "neither stored nor deflated" in refused(array.read, npz(npy((9,), bytes(36)), zipfile.ZIP_BZIP2))


def nifti(shape: tuple[int, ...], start: float = 352, extension: bytes = bytes(4)) -> bytes:
    import nibabel

    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header["vox_offset"] = start
    return header.binaryblock + extension


def test_nifti_bombs() -> None:
    assert "cannot hold them" in refused(volume.read, gzip.compress(nifti((1000, 1000, 1000), extension=bytes(9000))))
    assert "the limit is" in refused(volume.read, gzip.compress(nifti((30000, 30000, 30000))))
    assert "start at byte" in refused(volume.read, gzip.compress(nifti((2, 2, 2), 1e12)))
    for length in (-(1 << 30), (1 << 31) - 16):  # an extension that claims all that follows
        extension = struct.pack("<4sii", b"\1\0\0\0", length, 0)
        data = gzip.compress(nifti((9, 9, 9), 3520, extension)) + 96 * gzip.compress(bytes(1 << 24))
        assert feed(volume.read, data)[0] in ("done", *REFUSED)


def test_a_sound_longer_than_its_file() -> None:
    flac = bytearray(seeds.sounds()[1])
    assert flac[:4] == b"fLaC"
    flac[21] |= 15
    flac[22:26] = b"\xff" * 4  # 2^36 - 1 samples
    refused(lambda data: audio.read(data, 1 << 40), bytes(flac))
    refused(audio.read, bytes(flac))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 9, "NONE", ""))
        file.writeframes(bytes(18))
    lies = out.getvalue().replace((18).to_bytes(4, "little"), (0x7FFFFFF0).to_bytes(4, "little"))
    assert feed(audio.read, lies)[0] in ("done", *REFUSED)


def test_hdf5_samples_from_nothing() -> None:
    def file(**options: Any) -> bytes:
        out = io.BytesIO()
        with h5py.File(out, "w") as f:
            f.create_dataset("x", dtype="f4", **options)
        return out.getvalue()

    for read in (array.read, formats.read):
        assert "the limit is" in refused(read, file(shape=(1 << 40,), chunks=(1 << 10,)))
        assert "the limit is" in refused(
            read, file(shape=(9,), maxshape=(None,), chunks=(1 << 28,), compression="gzip")
        )


def heap_of(data: bytes) -> int:
    """Where the entries of the first global heap are."""
    return data.index(b"GCOL\x01") + 16


@pytest.mark.parametrize("size", [0, 8, (1 << 64) - 16, (1 << 64) - 32, 1 << 40])
def test_hdf5_heaps_that_are_walked_for_ever(size: int, tmp_path: Path) -> None:
    out = io.BytesIO()
    with h5py.File(out, "w") as f:
        f["x"] = np.arange(5.0)
        f["x"].attrs["units"] = "some units"
    data = bytearray(out.getvalue())
    at = heap_of(data)
    at += 16 + 16  # the first entry, then that of the free space
    assert data[at : at + 2] == b"\0\0"
    data[at + 8 : at + 16] = size.to_bytes(8, "little")
    (tmp_path / "x.h5").write_bytes(data)
    assert "heap of strings is damaged" in refused(array.read, bytes(data))
    with pytest.raises(UnsupportedInput, match="heap of strings"):
        array.read(tmp_path / "x.h5")


def test_many_heaps_in_one_another_take_no_time() -> None:
    heap = b"GCOL\x01\0\0\0" + (1 << 22).to_bytes(8, "little")
    data = seeds.arrays()[2] + (heap + b"\x01\0" + bytes(14)) * (1 << 16) + bytes(1 << 22)
    refused(array.read, data)


def test_meshes_from_nothing() -> None:
    zeros = triangle(componentType=5126, count=1 << 30, type="VEC3")
    assert "without data" in refused(shape.read, glb(zeros, TRIANGLE))
    many = triangle() | {"nodes": [{"mesh": 0} for _ in range(3000)], "scenes": [{"nodes": list(range(3000))}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shape, "MAX_FACES", 2000)
        assert "3000 triangles" in refused(shape.read, glb(many, TRIANGLE))
    refused(
        shape.read, b"ply\nformat binary_little_endian 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n"
    )


def test_vertices_that_are_no_points() -> None:
    assert "three coordinates" in refused(shape.read, b"v 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 2 3 4\n")


@pytest.mark.parametrize(
    "info",
    [{"window": v} for v in ([0, 0], [5, 5, 5], [[0, 1], [0], 2], "abc", None)]
    + [{"spacing": v} for v in ([1, 1, 1], "2", 1e300, 10**400, None, True)]
    + [{"origin": v} for v in (5, [0, 0], ["a", 0, 0], {})],
)
def test_a_shape_that_lies_nowhere(info: dict[str, Any]) -> None:
    values = np.where(np.indices((6, 6, 6))[..., None].max(0) < 4, 1, 0).astype(np.float32)
    signal = Signal.numbers(values, "shape", 3, info={"kind": "mesh"} | info)
    with pytest.raises(OutputFailed, match="where the samples lie"):
        shape.write(signal, ".ply")


def test_a_film_of_enormous_frames() -> None:
    assert feed(video.read, b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n" + bytes(99))[0] in REFUSED
    wide = seeds.films()[3].replace(b"W24 H16", b"W9000 H9000")
    assert wide != seeds.films()[3]
    assert feed(video.read, wide)[0] in REFUSED


def test_a_film_of_an_unknown_codec() -> None:
    odd = seeds.films()[0].replace(b"V_FFV1", b"V_ABCD")
    assert odd != seeds.films()[0]
    assert "of a codec that is not known" in refused(video.read, odd)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".y4m"])
@pytest.mark.parametrize("kind", ["film", "noise", "unknown"])
def test_a_stream_whose_sound_is_none(kind: str, suffix: str) -> None:
    sounds = {
        "film": seeds.films()[0],
        "noise": random.Random(3).randbytes(300),
        "unknown": seeds.soundtrack().replace(b"A_PCM", b"A_XYZ"),
    }
    signal = Signal(np.zeros((5, 16, 24, 3), np.uint8), VideoFormat(Fraction(25), 5, sounds[kind]))
    outcome, reason = feed(lambda _: video.write(signal, suffix), b"")
    assert outcome == ("done" if kind == "unknown" else "OutputFailed"), reason


def test_a_sound_that_leads_to_before_its_start(capfd: pytest.CaptureFixture[str]) -> None:
    (aiff,) = (data for data in seeds.sounds() if data.startswith(b"FORM"))
    refused(audio.read, aiff.replace(b"SSND", b"S\0ND", 1)[:-1])
    refused(audio.read, aiff.replace(b"SSND", b"S\0SND", 1))
    assert capfd.readouterr().err == ""


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for data in (b"solid a\nfacet normal x\n" + b"9" * 99, seeds.shapes()[0].replace(b"4", b"7")):
        with pytest.raises(UnsupportedInput):
            shape.read(data, resolution=16)
    assert capfd.readouterr() == ("", "")


# The document


def test_the_caps_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `([\w.]+)\.([A-Z_]+)` \| ([\d^ x]+) \|", SECURITY.read_text(), re.M)
    assert len(rows) > 20
    for module, name, value in rows:
        number = 1
        for factor in value.replace(" ", "").split("x"):
            base, _, power = factor.partition("^")
            number *= int(base) ** int(power or 1)
        assert getattr(importlib.import_module(f"inrcodec.{module}"), name) == number, (module, name)
