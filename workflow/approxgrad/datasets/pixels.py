"""Decoding one image file into an array of a fixed size, as torchvision's usual transforms do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from approxgrad.datasets.kinds import DatasetError
from approxgrad.messages import one_line
from approxgrad.storage.damage import DAMAGES

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded; Pillow would start other programs for some of the rest."""

MODES = {1: "L", 3: "RGB"}
DEEP_MODES = ("I", "F")
"""Beginnings of Pillow's modes with more than eight bits, which it clips without a word."""


@contextmanager
def pillow_limits() -> Iterator[None]:
    """Turn Pillow's warning of a decompression bomb into an error."""
    import warnings

    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decoded(content: bytes, size: tuple[int, int], channels: int, where: str) -> NDArray[np.uint8]:
    """Return an image whose shorter side was resized to cover `size` and whose centre was cropped.

    Parameters
    ----------
    content : bytes
        An image file.
    size : tuple of int
        Height and width.
    channels : int
        3 for colour, 1 for grey.
    where : str
        Name of the file, for messages.

    Returns
    -------
    ndarray
        Shape (channels, height, width).

    Raises
    ------
    DatasetError
        If the file is no image, is broken, too large or has more than eight bits per channel.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.mode.startswith(DEEP_MODES):
                raise DatasetError(
                    f"{where}: has more than 8 bits per channel (mode {image.mode}), which is not supported"
                )
            pixels = np.asarray(_cropped(image.convert(MODES[channels]), *size))
    except DatasetError:
        raise
    except UnidentifiedImageError:
        raise DatasetError(f"{where}: is no image (of the formats {', '.join(FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DatasetError(f"{where}: is too large to decode ({one_line(error)})") from None
    except DAMAGES as error:
        raise DatasetError(f"{where}: is a broken image ({one_line(error)})") from None
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _cropped(image: Image.Image, height: int, width: int) -> Image.Image:
    from PIL import Image

    # The side that needs the larger factor is met exactly; the other one is rounded down, as torchvision does.
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
