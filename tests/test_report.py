"""The report page, the plot, and pictures at equal rate."""

import json
import math
import struct
from dataclasses import asdict, replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from conftest import picture
from PIL import Image

from inrcodec.bench.model import Codec, Curve, Item, Row
from inrcodec.bench.report import page, pictures, plot
from inrcodec.errors import NothingToDo

HOSTILE = "</script><script>alert('x')</script>&\"<b>"


def curve(name: str, shift: float = 0.0, published: bool = False) -> Curve:
    rate = (0.1, 0.2, 0.4, 0.8)
    seconds = None if published else (0.1, 0.2, 0.3, 0.4)
    return Curve(name, (1, 2, 3, 4), rate, tuple(28 + shift + 3 * k for k in range(4)), seconds, seconds, published)


def rows_of(curve: Curve, items: int = 2) -> list[Row]:
    return [
        Row(f"item{n}", "image", curve.codec, "1.0", p, "cpu", 1, 1000, 0.1, 0.1, metrics={"bpp": r, "psnr": q})
        for n in range(items)
        for p, r, q in zip(curve.points, curve.rate, curve.psnr, strict=True)
    ]


class Reader(HTMLParser):
    """Tags with their attributes, and the text of each script and table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append((self.tags[-1][0] if self.tags else "", data))

    def data(self) -> dict:
        at = next(k for k, (_, attributes) in enumerate(self.tags) if attributes.get("id") == "data")
        assert self.tags[at][0] == "script"
        body = [text for tag, text in self.texts if tag == "script" and text.startswith('{"')]
        return json.loads(body[0])

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def report(
    curves: list[Curve], shown: list[pictures.Picture] | None = None, bd_rate: page.Deltas | None = None
) -> tuple[str, list[Row]]:
    pytest.importorskip("plotly")
    rows = [row for c in curves if not c.published for row in rows_of(c)]
    text = page.html("toys", "inrcodec bench toys", rows, curves, bd_rate or {}, {}, shown or [], "bpp", ["no AVIF"])
    return text, rows


def test_page_holds_all_rows_and_curves() -> None:
    curves = [curve("inrcodec", 2), curve("JPEG"), curve("paper", 4, published=True)]
    text, rows = report(curves)
    read = Reader(text).data()
    assert [dict(zip(read["columns"], row, strict=True)) for row in read["rows"]] == [asdict(row) for row in rows]
    assert [c["codec"] for c in read["curves"]] == ["inrcodec", "JPEG", "paper"]
    for c, embedded in zip(curves, read["curves"], strict=True):
        assert embedded["rate"] == list(c.rate) and embedded["psnr"] == list(c.psnr)
    assert "inrcodec bench toys" in text and "no AVIF" in text


def test_page_needs_no_network() -> None:
    text, _ = report([curve("inrcodec"), curve("JPEG")], at_half_a_bit(RISING))
    tags = Reader(text).tags
    for tag, attributes in tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, name)
    policy = next(a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None and policy.startswith("default-src 'none'") and "http" not in policy
    style = (text.split("<style>", 1)[1]).split("</style>", 1)[0]
    assert "url(" not in style and "@import" not in style


def test_hostile_names_stay_text() -> None:
    plain, _ = report([curve("inrcodec"), curve("JPEG")])
    text, _ = report([curve("inrcodec"), curve(HOSTILE)], bd_rate={(HOSTILE, "inrcodec"): 3.0})
    reader = Reader(text)
    assert reader.data()["curves"][1]["codec"] == HOSTILE
    assert reader.count("script") == Reader(plain).count("script")
    assert reader.count("b") == Reader(plain).count("b")
    assert HOSTILE not in text


def test_one_codec_and_no_pictures() -> None:
    reader = Reader(report([curve("inrcodec")])[0])
    assert reader.data()["pictures"] == []
    assert not any(a.get("id") == "stage" for _, a in reader.tags)


def test_no_rows() -> None:
    with pytest.raises(NothingToDo, match="0 rows"):
        page.html("toys", "", [], [], {}, {}, [], "bpp", [])


def test_lossless_rows_are_valid_json() -> None:
    pytest.importorskip("plotly")
    flac = replace(curve("FLAC"), psnr=(math.inf,) * 4)
    text = page.html("toys", "", rows_of(flac), [flac], {}, {}, [], "bpp", [])
    assert Reader(text).data()["curves"][0]["psnr"] == [None] * 4


def test_matrix_says_gain_and_loss() -> None:
    curves = [curve("inrcodec", 2), curve("JPEG")]
    text, _ = report(curves, bd_rate={("inrcodec", "JPEG"): -31.25, ("JPEG", "inrcodec"): 45.0})
    assert '<td class="gain" style="--tint: 62%">−31.2</td>' in text
    assert '<td class="loss" style="--tint: 90%">+45.0</td>' in text
    assert '<td class="none">—</td>' in text  # BD-PSNR, of which nothing is known


def luminance(colour: str) -> float:
    """Of an sRGB colour, as WCAG 2 defines it."""
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", plot.OURS + plot.PEERS)
def test_colours_stand_out_on_both_grounds(colour: str) -> None:
    white, dark = luminance("#ffffff"), luminance("#14171b")
    assert (white + 0.05) / (luminance(colour) + 0.05) >= 3
    assert (luminance(colour) + 0.05) / (dark + 0.05) >= 3


def test_styles_tell_curves_apart() -> None:
    curves = [curve("inrcodec"), curve("inrcodec, effort 2"), *(curve(f"peer{k}") for k in range(6))]
    curves += [curve("inrcodec", published=True)]
    looks = plot.styles(curves)
    assert len({look.colour for look in looks}) == len(curves)
    assert {look.colour for look in looks[:2]} <= set(plot.OURS)
    assert min(look.width for look in looks[:2]) > max(look.width for look in looks[2:8]) > looks[8].width
    assert looks[8].dash != "solid" and not looks[8].marker and looks[8].colour in plot.PEERS


def test_plot_is_a_png_of_the_promised_size() -> None:
    pytest.importorskip("matplotlib")
    curves = [curve("inrcodec", 2), curve("$JPEG$"), curve("paper", 4, published=True)]
    data = plot.png(curves, "bpp", "Toys, $2 and $3")
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1800, 1080)
    pixels = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    ours = [int(plot.OURS[0][k : k + 2], 16) for k in (1, 3, 5)]
    assert (pixels == ours).all(axis=2).sum() > 1000


def test_plot_leaves_out_what_no_axis_can_hold() -> None:
    pytest.importorskip("matplotlib")
    lossless = Curve("FLAC", (0,), (0.5,), (math.inf,), (1.0,), (1.0,))
    assert plot.png([curve("inrcodec"), lossless], "bpp", "").startswith(b"\x89PNG")
    with pytest.raises(NothingToDo, match="none of 1 curves"):
        plot.png([lossless], "bpp", "")


IMAGE = Item("toy", "image", picture(40, 48, seed=1))
CALLS: list[float] = []


def size(bpp: float) -> bytes:
    return bytes(round(bpp * IMAGE.positions / 8))


def rising(item: Item, point: float) -> bytes:
    CALLS.append(point)
    return size(0.02 * point)


def falling(item: Item, point: float) -> bytes:
    CALLS.append(point)
    return size(24 / point)


def decode(data: bytes) -> np.ndarray:
    return IMAGE.values ^ 1


RISING = Codec("rising", "image", "1", (1.0, 10.0, 100.0), rising, decode)
FALLING = Codec("falling", "image", "1", (240.0, 40.0, 12.0), falling, decode)
FLAT = Codec("flat", "image", "1", (7.0,), rising, decode)


def at_half_a_bit(*codecs: Codec) -> list[pictures.Picture]:
    return pictures.at_equal_rate([IMAGE], list(codecs), 0.5)


@pytest.mark.parametrize("codec", [RISING, FALLING], ids=lambda codec: codec.name)
def test_search_reaches_the_rate(codec: Codec) -> None:
    CALLS.clear()
    (shown,) = at_half_a_bit(codec)
    assert shown.coded[codec.name].bpp == pytest.approx(0.5, rel=0.03)
    assert shown.coded[codec.name].psnr == pytest.approx(20 * math.log10(255))
    assert 1 < len(CALLS) <= 8


@pytest.mark.parametrize("codec", [RISING, FALLING], ids=lambda codec: codec.name)
@pytest.mark.parametrize(("bpp", "end"), [(1e-3, 0), (100.0, -1)])
def test_search_keeps_the_nearest_it_can_reach(codec: Codec, bpp: float, end: int) -> None:
    CALLS.clear()
    (shown,) = pictures.at_equal_rate([IMAGE], [codec], bpp)
    assert shown.coded[codec.name].bpp == 8 * len(codec.encode(IMAGE, codec.points[end])) / IMAGE.positions
    assert len(CALLS) - 1 <= 8


def test_a_single_operating_point_is_encoded_once() -> None:
    CALLS.clear()
    (shown,) = at_half_a_bit(FLAT)
    assert CALLS == [7.0] and shown.coded["flat"].bpp == pytest.approx(0.14, rel=0.02)


def test_pictures_are_lossless_and_only_of_images() -> None:
    sound = Item("sound", "audio", np.zeros((10, 1), np.int16), rate=8000)
    (shown,) = pictures.at_equal_rate([sound, IMAGE], [RISING, replace(FALLING, modality="audio")], 0.5)
    assert list(shown.coded) == ["rising"]
    assert np.array_equal(np.asarray(Image.open(BytesIO(shown.original))), IMAGE.values)
    assert np.array_equal(np.asarray(Image.open(BytesIO(shown.coded["rising"].image))), IMAGE.values ^ 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_of_sixteen_bits_and_any_channels(channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (6, 8, channels), np.uint16)
    deep = Codec("deep", "image", "1", (1.0, 2.0), rising, lambda _: values)
    (shown,) = pictures.at_equal_rate([Item("deep", "image", values)], [deep], 0.5)
    pixels = np.asarray(Image.open(BytesIO(shown.original)))
    assert np.array_equal(pixels[..., 0], values[..., 0] >> 8)
    assert shown.coded["deep"].psnr == math.inf


def test_times_taken_beside_other_work_are_called_so() -> None:
    pytest.importorskip("plotly")
    one = curve("inrcodec")
    rows = rows_of(one)
    assert "--timing" in page.html("toys", "", rows, [one], {}, {}, [], "bpp", [])
    alone = [replace(row, peak_memory=2**20) for row in rows]
    assert "--timing" not in page.html("toys", "", alone, [one], {}, {}, [], "bpp", [])
