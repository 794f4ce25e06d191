"""Sounds, through libsndfile (soundfile): WAV, FLAC, OGG, MP3, AIFF and what else it reads."""

import io
from pathlib import Path

import numpy as np

from inrcodec.errors import LimitExceeded, OutOfMemory, OutputFailed, UnreadableInput, UnsupportedInput, UsageError
from inrcodec.formats.source import leading_bytes, name_of
from inrcodec.samples.audio import AudioFormat
from inrcodec.signal import Signal

MAX_SAMPLES = 2**31
MAX_FRAMES = 2**13  # that a byte of a file can stand for: silence in FLAC is 5400

# libsndfile's name of the format, for reading (any file of it) and writing (chosen by suffix)
SUFFIXES = {
    ".wav": "WAV",
    ".flac": "FLAC",
    ".ogg": "OGG",
    ".oga": "OGG",
    ".opus": "OGG",
    ".mp3": "MP3",
    ".aiff": "AIFF",
    ".aif": "AIFF",
    ".w64": "W64",
    ".caf": "CAF",
    ".au": "AU",
}
MAGICS = (b"fLaC", b"OggS", b"ID3", b"caff", b".snd", b"riff\x2e\x91\xcf\x11")

# What a file's samples become: enough bits for what the file holds; lossy files hold about 16.
DTYPES = {
    **dict.fromkeys(("PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32", "DWVW_24"), "int32"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "float32"),
}
SUBTYPES = {"int16": "PCM_16", "int32": "PCM_24", "float32": "FLOAT"}


def sniff(head: bytes, name: str) -> bool:
    """Whether a file with these leading bytes, or else with this name, is a sound."""
    return (
        head.startswith(MAGICS)
        or (head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE")
        or (head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"))
        or (head[:1] == b"\xff" and head[1:2] in (b"\xfb", b"\xfa", b"\xf3", b"\xf2"))  # a bare MP3 frame
        or Path(name).suffix.lower() in SUFFIXES
    )


class _Bytes(io.BytesIO):
    """A damaged file may lead to before its start: an exception could not leave libsndfile, and would be printed."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


def read(source: Path | bytes, max_samples: int = MAX_SAMPLES) -> Signal:
    """Read a sound file, or the bytes of one.

    Raises InputNotFound, UnreadableInput (unreadable or empty), UnsupportedInput (not a sound, damaged, no samples,
    more than 8 channels), LimitExceeded (more samples than `max_samples`) or OutOfMemory.
    """
    import soundfile

    leading_bytes(source)
    name = name_of(source)
    try:
        with soundfile.SoundFile(_Bytes(source) if isinstance(source, bytes) else source) as file:
            if file.frames * file.channels > max_samples:
                raise LimitExceeded(
                    f"{name}: {file.frames} samples of {file.channels} channels; the limit is {max_samples}"
                )
            size = len(source) if isinstance(source, bytes) else source.stat().st_size
            if file.frames > MAX_FRAMES * size:
                raise UnsupportedInput(f"{name}: {file.frames} samples are announced; {size} bytes cannot hold them")
            if not file.frames:
                raise UnsupportedInput(f"{name}: a sound without samples")
            dtype, notes = DTYPES.get(file.subtype, "int16"), list[str]()
            if file.subtype == "DOUBLE":
                double = file.read(dtype="float64", always_2d=True)
                values = double.astype(np.float32)
                notes += [] if np.array_equal(values, double, equal_nan=True) else ["64-bit samples rounded to 32 bits"]
            else:
                values = file.read(dtype=dtype, always_2d=True)
            return Signal.sound(values, file.samplerate, tuple(notes))
    except soundfile.LibsndfileError as error:
        raise UnsupportedInput(f"{name}: damaged or unsupported sound ({error.error_string})") from None
    except UsageError as error:
        raise UnsupportedInput(f"{name}: {error}") from None
    except MemoryError:
        raise OutOfMemory(f"{name}: not enough memory to read it") from None
    except OSError as error:
        raise UnreadableInput(f"{name}: cannot be read ({error.strerror or error})") from None


def write(signal: Signal, suffix: str) -> bytes:
    """A sound → the bytes of a file of the format that a suffix names. Raises OutputFailed.

    Samples of up to 32 bits are written in 24, unless they are the original's own and need them all.
    """
    import soundfile

    values, form = np.asarray(signal.values[...]), signal.format
    assert isinstance(form, AudioFormat)
    kind = SUFFIXES[suffix.lower()]
    subtype = SUBTYPES[form.dtype]
    if form.dtype == "int32" and signal.exact and (values & 255).any() and soundfile.check_format(kind, "PCM_24"):
        subtype = "PCM_32"
        if not soundfile.check_format(kind, subtype):
            raise OutputFailed(f"{kind} holds 24 bits of a sample, of which the lossless ones here have 32; write .wav")
    if not soundfile.check_format(kind, subtype):  # FLAC and the lossy ones have no float
        subtype = "PCM_24" if soundfile.check_format(kind, "PCM_24") else soundfile.default_subtype(kind)
    if suffix.lower() == ".opus":
        subtype = "OPUS"
    if form.dtype == "float32" and subtype.startswith("PCM"):
        values = np.clip(values, -1, 1 - 2.0**-23)
    out = io.BytesIO()
    try:
        soundfile.write(out, values, form.rate, subtype, format=kind)
    except (soundfile.LibsndfileError, ValueError, RuntimeError) as error:
        reason = getattr(error, "error_string", error)
        raise OutputFailed(f"{kind} cannot hold {form.channels} channels at {form.rate} Hz ({reason})") from None
    return out.getvalue()
