"""What is left of a damaged stream: sections that fail their check are None, and everything else decodes."""

from collections.abc import Sequence

from inrcodec.container import METHODS, Header
from inrcodec.errors import CorruptStream
from inrcodec.latents import SECTIONS

Sections = Sequence[bytes | None]
"""Those of a stream; None for one that is lost."""


def of_item(header: Header, sections: Sections, item: int) -> Sections:
    """The sections that an item is decoded from: those of a batch come item by item, equally many each."""
    if header.items is None:
        return sections
    count = len(sections) // header.items
    return sections[item * count : (item + 1) * count]


def check(header: Header, sections: Sections, item: int) -> None:
    """Raise CorruptStream if so many sections are lost that an item cannot be decoded.

    A pyramid that is no batch needs one coarse section; all else needs all of its sections.
    """
    own = of_item(header, sections, item)
    lost = sum(section is None for section in own)
    if header.items is None and header.method == METHODS["pyramid"]:
        if lost and all(section is None for section in own[: len(own) // SECTIONS]):
            raise CorruptStream(f"{lost} of {len(own)} sections are damaged; no tile has its coarsest one")
    elif lost:
        raise CorruptStream(f"{lost} of the {len(own)} sections of item {item} are damaged; it needs all of them")


def losses(header: Header, sections: Sections, items: Sequence[int], filler: str) -> tuple[str, ...]:
    """What was lost of some items, as notes for the user. filler: what the samples of a lost item are.

    Raises CorruptStream if nothing is left of them.
    """
    lost = [k for k, section in enumerate(sections) if section is None]
    if header.items is None:
        check(header, sections, 0)
        return (f"lost {_listed('section', lost, len(sections))}: {_tiles(sections)}",) if lost else ()
    gone = [k for k in items if None in of_item(header, sections, k)]
    if gone and len(gone) == len(items):
        check(header, sections, gone[0])
    return (f"lost {_listed('item', gone, header.items)}: all samples are {filler}",) if gone else ()


def _tiles(sections: Sections) -> str:
    """How the tiles of a pyramid are left."""
    count = len(sections) // SECTIONS
    blank = sum(section is None for section in sections[:count])
    damaged = sum(None in sections[k::count] for k in range(count))
    return f"of {count} tiles {damaged - blank} are coarser and {blank} blank"


def _listed(what: str, numbers: list[int], count: int) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (", …" if len(numbers) > 8 else "")
    return f"{len(numbers)} of {count} {what}s ({shown}, counted from 0)"
