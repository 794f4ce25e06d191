"""The rate–distortion plot as a picture, and the look of a curve, here and on the page."""

import math
from dataclasses import dataclass
from io import BytesIO

from inrcodec.bench.model import Curve
from inrcodec.errors import NothingToDo, UsageError

OURS = ("#dd3a1c", "#c2377e", "#b8560b")
PEERS = (
    *("#4f7cac", "#3a9188", "#8a72b0", "#a17f2b", "#5a9254", "#7d8590"),
    *("#b06c8c", "#9a7458", "#3d90ad", "#7f8b3c", "#6f79c4", "#b3736b"),
)
"""Each is at least 3 : 1 in contrast against white and against the dark ground of the page."""

MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "pentagon": "p"}
DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
"""Names that the page gives to plotly: what matplotlib calls the same."""

INK, SOFT, FAINT = "#1f2328", "#59636e", "#e6e9ed"


@dataclass(frozen=True)
class Style:
    """marker: a key of MARKERS, empty for none. dash: a key of DASHES. width: in points."""

    colour: str
    marker: str
    dash: str
    width: float


def is_ours(curve: Curve) -> bool:
    return curve.codec.startswith("inrcodec") and not curve.published


def styles(curves: list[Curve]) -> list[Style]:
    """One for each curve: ours strong, measured peers muted with markers, published curves thin and dashed."""
    markers, dashes = list(MARKERS), list(DASHES)[1:]
    out = []
    ours = peers = published = 0
    for curve in curves:
        if is_ours(curve):
            out.append(Style(OURS[ours % len(OURS)], markers[ours % len(markers)], "solid", 2.6))
            ours += 1
            continue
        colour = PEERS[peers % len(PEERS)]
        if curve.published:
            out.append(Style(colour, "", dashes[published % len(dashes)], 1.3))
            published += 1
        else:
            out.append(Style(colour, markers[(peers + 1) % len(markers)], "solid", 1.5))
        peers += 1
    return out


def _window(curves: list[Curve]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The rates and the PSNRs to show: those of the measured curves, else of all. Raises NothingToDo if there are none.

    Published curves often go on far beyond what was measured, and would press the rest into a corner.
    """
    shown = [c for c in curves if not c.published] or curves
    points = [(r, q) for c in shown for r, q in zip(c.rate, c.psnr, strict=True) if _drawable(r, q)]
    if not points:
        raise NothingToDo(f"none of {len(curves)} curves has a point with a finite PSNR")
    rates, psnrs = zip(*points, strict=True)
    return (min(rates), max(rates)), (min(psnrs), max(psnrs))


def png(curves: list[Curve], rate_unit: str, title: str) -> bytes:
    """PSNR over rate, 1800 × 1080 pixels. Raises UsageError without matplotlib, NothingToDo without a point."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
    except ImportError:
        raise UsageError("the plot needs matplotlib: pip install 'inrcodec[bench]'") from None

    (low, high), (bottom, top) = _window(curves)
    figure = Figure(figsize=(9, 5.4), dpi=200, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = []
    for curve, style in zip(curves, styles(curves), strict=True):
        points = [(r, q) for r, q in zip(curve.rate, curve.psnr, strict=True) if _drawable(r, q)]
        (line,) = axes.plot(
            [rate for rate, _ in points],
            [psnr for _, psnr in points],
            color=style.colour,
            linestyle=DASHES[style.dash],
            linewidth=style.width,
            marker=MARKERS.get(style.marker, ""),
            markersize=5.5 if is_ours(curve) else 4.2,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=4 if is_ours(curve) else 2 if curve.published else 3,
            label=curve.codec.replace("$", r"\$"),  # a pair of dollars would begin mathematics
        )
        lines.append(line)

    axes.set_xscale("log")
    margin = (high / low) ** 0.03 if high > low else 1.5
    axes.set_xlim(low / margin, high * margin)
    room = 0.04 * (top - bottom) or 1.0
    axes.set_ylim(bottom - room, top + room)
    steps = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 7)
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda psnr, _: f"{psnr:g}"))
    axes.tick_params(which="both", colors=SOFT, labelsize=9.5, length=0)
    axes.grid(which="major", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#b6bdc6")
    axes.set_xlabel(f"{rate_unit.replace('_', ' ')}, logarithmic", color=SOFT, fontsize=10, loc="right")
    axes.set_title("PSNR, dB", color=SOFT, fontsize=10, loc="left", pad=10)
    figure.suptitle(title, x=0.012, ha="left", color=INK, fontsize=13.5, fontweight="bold")
    middle = math.sqrt(low * high)
    ordered = sorted(range(len(curves)), key=lambda k: -_height(curves[k], middle))
    figure.legend(
        handles=[lines[k] for k in ordered],
        loc="outside right center",
        frameon=False,
        labelcolor=INK,
        fontsize=min(10.0, 260 / len(curves)),
        labelspacing=0.65,
        handlelength=2.4,
    )
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _drawable(rate: float, psnr: float) -> bool:
    """Whether a point can stand on a logarithmic axis; a lossless one, of infinite PSNR, cannot."""
    return 0 < rate < math.inf and math.isfinite(psnr)


def _height(curve: Curve, rate: float) -> float:
    """About where the curve passes a rate, dB, so that the legend can follow the order of the lines."""
    points = [(math.log(r / rate), q) for r, q in zip(curve.rate, curve.psnr, strict=True) if _drawable(r, q)]
    if not points:
        return -math.inf
    distance, psnr = min(points, key=lambda point: abs(point[0]))
    return psnr - 6 * distance  # a curve rises by some 6 dB where the rate grows e-fold
