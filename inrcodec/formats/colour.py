"""Embedded colour profiles, through littlecms, and chroma at less than full resolution."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms


@dataclass(frozen=True)
class Profile:
    """An embedded ICC profile and its transform to sRGB.

    mode: what it describes, as a Pillow mode: L, RGB or CMYK.
    """

    label: str
    mode: str
    transform: ImageCms.ImageCmsTransform

    @classmethod
    def parse(cls, icc: bytes) -> "Profile | None":
        """None if the profile is damaged or describes something else."""
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}[profile.profile.xcolor_space.strip()]
            srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            # lcms's fast path is ten levels off in the shadows of a linear grey profile.
            flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
            transform = ImageCms.ImageCmsTransform(profile, srgb, mode, "RGB", flags=flags)
            label = " ".join(ImageCms.getProfileDescription(profile).split())[:60]
            return cls(label, mode, transform)
        except (OSError, KeyError, ImageCms.PyCMSError):
            return None

    def grey_table(self) -> NDArray[np.integer]:
        """The sRGB level of each of 256 grey levels."""
        levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None]).convert(self.mode)
        return np.asarray(self.transform.apply(levels))[0, :, 1]

    def is_srgb(self) -> bool:
        """Whether it moves no colour by more than two steps: names cannot be trusted."""
        if self.mode == "CMYK":
            return False
        steps = np.arange(0, 256, 17, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        before = Image.fromarray(cube) if self.mode == "RGB" else Image.fromarray(steps[None])
        after = np.asarray(self.transform.apply(before)).astype(int)
        return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= 2)


def to_srgb(image: Image.Image, profile: Profile, notes: list[str]) -> Image.Image:
    """Convert an image of mode L, LA, RGB or RGBA to sRGB; alpha is kept."""
    grey = image.mode.startswith("L")
    if profile.mode == "CMYK" or (profile.mode == "L" and not grey):
        notes.append(f"ICC profile '{profile.label}' ignored: it is not for a {image.mode} image")
        return image
    if profile.is_srgb():
        return image
    notes.append(f"ICC profile '{profile.label}' converted to sRGB")
    if grey:
        table = profile.grey_table().tolist()
        return image.point(table + list(range(256)) * (image.mode == "LA"))
    if image.mode == "RGB":
        return profile.transform.apply(image, image)
    colours = profile.transform.apply(image.convert("RGB"))
    colours.putalpha(image.getchannel("A"))
    return colours


def note_dropped(icc: bytes | None, notes: list[str]) -> None:
    profile = Profile.parse(icc) if icc else None
    if icc and not (profile and profile.is_srgb()):
        label = profile.label if profile else "unusable"
        notes.append(f"ICC profile '{label}' dropped: 16-bit samples are kept as they are")


def subsampled(pixels: NDArray[np.uint8], down: str, up: str) -> NDArray[np.uint8]:
    """sRGB [H, W, 3] with its chroma at half resolution; down, up: Pillow's names of the filters on the way."""
    luma, *chroma = Image.fromarray(pixels).convert("YCbCr").split()
    there, back = Image.Resampling[down], Image.Resampling[up]
    half = [c.resize(((c.width + 1) // 2, (c.height + 1) // 2), there).resize(c.size, back) for c in chroma]
    return np.asarray(Image.merge("YCbCr", (luma, *half)).convert("RGB"))
