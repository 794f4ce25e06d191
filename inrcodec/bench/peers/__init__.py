"""The codecs that people use today, through well-kept libraries. Every one encodes and decodes on one thread."""

from collections.abc import Callable, Mapping

from inrcodec.bench.model import Codec, Modality
from inrcodec.bench.peers import arrays, audio, image, video

PEERS: Mapping[Modality, Mapping[str, Callable[[], Codec]]] = {
    "image": image.PEERS,
    "audio": audio.PEERS,
    "field": arrays.FIELD_PEERS,
    "volume": arrays.VOLUME_PEERS,
    "video": video.PEERS,
    "shape": {},
}
"""How to make each codec; a maker raises ImportError, named after what is missing, where its library is absent."""


def available(modality: Modality) -> tuple[list[Codec], list[str]]:
    """The codecs of `modality` that can run here, and one line for each that cannot: "jpegxl: skipped, needs …"."""
    codecs, notes = [], []
    for name, make in PEERS[modality].items():
        try:
            codecs.append(make())
        except ImportError as error:
            notes.append(f"{name}: skipped, needs {error.name}")
    return codecs, notes
