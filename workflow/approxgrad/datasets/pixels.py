"""Decoding an image file into an array of a fixed size, with the usual transforms of torchvision.

Unlike there, images are turned as their EXIF data say, and transparent parts become white.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.faults import DatasetError, reading
from approxgrad.messages import one_line

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded; Pillow would start other programs for some of the rest."""

DEEP_MODES = ("I", "F")  # beginnings of Pillow's modes with more than eight bits, which it clips silently
DEEP_PIXELS = re.compile(r"\b(?:LA|[A-Z]|RGB[AaX]?|CMYK);16")
"""Names in Pillow's decoders of pixels with more than eight bits per channel, of which they keep eight."""


@contextmanager
def pillow_limits() -> Iterator[None]:
    """Turn Pillow's warning of a decompression bomb into an error."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decoded(content: bytes, size: tuple[int, int], channels: int, where: str) -> NDArray[np.uint8]:
    """Return an image file as pixels (channels, height, width), resized to cover `size` and cropped to its centre.

    There are 3 channels for colour or 1 for grey. A DatasetError begins with `where`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    with reading(f"{where}: is a broken image"):
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                if _is_deep(image):
                    raise DatasetError(
                        f"{where}: has more than 8 bits per channel (mode {image.mode}); convert it to 8 bits"
                    )
                # A photograph with an attached preview is one picture.
                if image.format != "MPO" and getattr(image, "is_animated", False):
                    raise DatasetError(f"{where}: contains several pictures (frames or pages), expected one")
                upright = _opaque(ImageOps.exif_transpose(image))
                pixels = np.asarray(_cropped(upright.convert("L" if channels == 1 else "RGB"), *size))
        except UnidentifiedImageError:
            raise DatasetError(f"{where}: is not an image (of the formats {', '.join(FORMATS)})") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise DatasetError(f"{where}: is too large to decode ({one_line(error)})") from None
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _is_deep(image: Image.Image) -> bool:
    """Return whether an image, not yet decoded, has more than eight bits per channel."""
    return image.mode.startswith(DEEP_MODES) or any(
        DEEP_PIXELS.search(str(tile.args)) or (tile.codec_name.startswith("ppm") and tile.args[1] > 255)
        for tile in getattr(image, "tile", [])
    )


def _opaque(image: Image.Image) -> Image.Image:
    """Return an image as it looks on white."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    layer = image.convert("RGBA")
    if layer.getchannel("A").getextrema() == (255, 255):
        return image
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)


def _cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    from PIL import Image

    # The side with the larger factor is exact; the other one is rounded down, as in torchvision.
    if height * image.width >= width * image.height:
        resized = (int(height * image.width / image.height), height)
    else:
        resized = (width, int(width * image.height / image.width))
    if resized[0] * resized[1] > (Image.MAX_IMAGE_PIXELS or 0):
        raise Image.DecompressionBombError(f"{image.width} x {image.height} would become {resized[0]} x {resized[1]}")
    if resized != image.size:
        image = image.resize(resized, Image.Resampling.BILINEAR)
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))
