"""Decoding of image files."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from approxgrad.datasets.faults import DatasetError
from approxgrad.datasets.pixels import decoded, pillow_limits
from pictures import noise, png


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (11, 11), (5, 5), (40, 40), (1, 1), (100, 7), (7, 100)])
def test_images_are_resized_as_torchvision_does(size):
    from torchvision.transforms import v2

    image = noise(*size)
    expected = v2.Compose([v2.Resize(5), v2.CenterCrop(5)])(image)
    got = decoded(png(image), (5, 5), 3, "x.png")
    np.testing.assert_array_equal(got, np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "window"), [((12, 4), (slice(4, 8), slice(4))), ((4, 12), (slice(4), slice(4, 8)))])
def test_the_centre_is_kept(size, window):
    image = noise(*size)
    got = decoded(png(image), (4, 4), 3, "x.png")
    columns, rows = window
    np.testing.assert_array_equal(got, np.asarray(image)[rows, columns].transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(6, 3), (3, 6), (9, 9)])
def test_windows_need_not_be_square(size):
    assert decoded(png(Image.new("RGB", (10, 8), (9, 8, 7))), size, 3, "x.png").shape == (3, *size)
    np.testing.assert_array_equal(decoded(png(noise(6, 3)), (3, 6), 3, "x"), np.asarray(noise(6, 3)).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_other_kinds_of_pixels_are_converted(mode):
    content = png(noise(4, 4).convert(mode))
    image = Image.open(io.BytesIO(content))
    colour, grey = decoded(content, (4, 4), 3, "x.png"), decoded(content, (4, 4), 1, "x.png")
    np.testing.assert_array_equal(colour, np.asarray(image.convert("RGB")).transpose(2, 0, 1))
    np.testing.assert_array_equal(grey, np.asarray(image.convert("L"))[None])


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_printers_colours_become_those_of_screens(form):
    image = noise(16, 16).convert("CMYK")
    content = png(image, form)
    with Image.open(io.BytesIO(content)) as saved:
        assert saved.mode == "CMYK"
        expected = np.asarray(saved.convert("RGB"))
    np.testing.assert_array_equal(decoded(content, (16, 16), 3, "x"), expected.transpose(2, 0, 1))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_a_part_of_an_image_is_none(form):
    content = png(noise(40, 40), form)
    with pytest.raises(DatasetError, match=r"x: is (a broken image \(|not an image)"):
        decoded(content[: len(content) // 2], (4, 4), 3, "x")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, png(noise(4, 4))[:8], b"<html>"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(DatasetError, match=r"x: is not an image \(of the formats BMP"):
        decoded(content, (4, 4), 3, "x")


TURNED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""What the numbers of the EXIF standard say must be done with an image before a person looks at it."""


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_images_are_turned_as_their_exif_data_say(form, orientation):
    image = noise(6, 4)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = TURNED[orientation](np.asarray(image))
    options = {"lossless": True} if form == "WEBP" else {}
    got = decoded(png(image, form, exif=exif, **options), expected.shape[:2], 3, "x")
    np.testing.assert_array_equal(got, expected.transpose(2, 0, 1))


PALETTE = Image.new("P", (4, 4), 1)
PALETTE.putpalette([0, 0, 0, 10, 20, 30, 0, 0, 0])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png(Image.new("RGBA", (4, 4), (9, 8, 7, 0))), [255, 255, 255]),
        # A quarter of the colour and three quarters of white.
        (png(Image.new("RGBA", (4, 4), (0, 100, 200, 64))), [191, 216, 241]),
        (png(Image.new("RGBA", (4, 4), (9, 8, 7, 255))), [9, 8, 7]),
        (png(Image.new("LA", (4, 4), (9, 0))), [255, 255, 255]),
        (png(Image.new("RGB", (4, 4), (9, 8, 7)), transparency=(9, 8, 7)), [255, 255, 255]),
        (png(Image.new("L", (4, 4), 9), transparency=9), [255, 255, 255]),
        (png(Image.new("1", (4, 4), 0), transparency=0), [255, 255, 255]),
        (png(PALETTE, transparency=1), [255, 255, 255]),
        (png(PALETTE, transparency=bytes([255, 64])), [194, 196, 199]),
        (png(PALETTE, "GIF", transparency=1), [255, 255, 255]),
        (png(PALETTE), [10, 20, 30]),
        (png(Image.new("RGBA", (4, 4), (9, 8, 7, 0)), "WEBP", lossless=True), [255, 255, 255]),
    ],
)
def test_what_is_transparent_is_white(content, expected):
    got = decoded(content, (4, 4), 3, "x")
    np.testing.assert_allclose(got, np.broadcast_to(np.reshape(expected, (3, 1, 1)), got.shape), rtol=0, atol=1)
    grey = decoded(content, (4, 4), 1, "x")
    np.testing.assert_allclose(grey, np.asarray(Image.new("RGB", (1, 1), tuple(expected)).convert("L"))[0, 0], atol=1)


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP"])
def test_animations_and_pages_are_refused(form):
    content = png(noise(4, 4), form, save_all=True, append_images=[noise(4, 4, seed=1)])
    with pytest.raises(DatasetError, match=r"x: contains several pictures \(frames or pages\), expected one"):
        decoded(content, (4, 4), 3, "x")


def test_a_photograph_with_a_preview_is_one_picture():
    content = png(noise(4, 4), "MPO", save_all=True, append_images=[noise(4, 4, seed=1)])
    np.testing.assert_array_equal(decoded(content, (4, 4), 3, "x"), decoded(png(noise(4, 4), "JPEG"), (4, 4), 3, "x"))


def deep_png(colour_type, channels):
    """Return an image of two pixels with sixteen bits per channel, which Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(range(4 * channels)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        png(Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000)),
        deep_png(2, 3),
        deep_png(4, 2),
        deep_png(6, 4),
        b"P6 1 1 65535\n" + bytes(range(6)),
        b"P3 1 1 1000\n1 2 3\n",
    ],
)
def test_deep_pixels_are_refused(content):
    with pytest.raises(DatasetError, match=r"x.png: has more than 8 bits per channel \(mode "):
        decoded(content, (4, 4), 1, "x.png")


def test_sixteen_bits_for_all_channels_together_are_not_deep():
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 74, 0, 0, 66, 40, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    red_then_blue = struct.pack("<IIIHH", 0xF800, 0x07E0, 0x001F, 0xF800, 0x001F)
    assert decoded(header + red_then_blue, (1, 2), 3, "x.bmp").reshape(3, 2).T.tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize("limit", [90, 60])
def test_decompression_bombs_are_errors(monkeypatch, limit):
    # Pillow warns from its limit on and raises from the double of it on.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    content = png(noise(11, 11))
    # Whatever the settings of the process are.
    warnings.simplefilter("ignore")
    with pillow_limits(), pytest.raises(DatasetError, match=r"x.png: is too large to decode"):
        decoded(content, (4, 4), 3, "x.png")


def test_a_narrow_image_does_not_explode(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pillow_limits(), pytest.raises(DatasetError, match=r"x.png: is too large .*1 x 5000 would become 32 x 160000"):
        decoded(png(Image.new("RGB", (1, 5000))), (32, 32), 3, "x.png")
