"""Small pictures without a library: PNG with 8 bits of red, green and blue."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
CHANNELS: Final = 3
# Bit depth 8, colour type 2 (RGB), and the only compression, filtering and order here.
_KIND: Final = (8, 2, 0, 0, 0)


class NotReadable(ValueError):
    """Not a PNG of the one kind this module reads."""


@dataclass(frozen=True, slots=True)
class Image:
    """Rows of pixels, from the top, three bytes each."""

    width: int
    height: int
    pixels: bytes

    @property
    def stride(self) -> int:
        """Bytes of one row."""
        return self.width * CHANNELS

    def rows(self) -> Iterator[bytes]:
        """The rows from the top."""
        for start in range(0, len(self.pixels), self.stride):
            yield self.pixels[start : start + self.stride]


def encode(image: Image) -> bytes:
    """Write a picture as a PNG file."""
    header = struct.pack(">IIBBBBB", image.width, image.height, *_KIND)
    # Each row filtered by "up": neighbours above each other are alike.
    above = bytes(image.stride)
    filtered = bytearray()
    for row in image.rows():
        filtered.append(2)
        filtered += bytes((a - b) & 255 for a, b in zip(row, above, strict=True))
        above = row
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"IDAT", zlib.compress(bytes(filtered), 9)),
            _chunk(b"IEND", b""),
        )
    )


def decode(data: bytes) -> Image:
    """Read a PNG file; raises NotReadable for what is none, or of another kind."""
    if not data.startswith(SIGNATURE):
        raise NotReadable("This is not a PNG file.")
    try:
        chunks = list(_chunks(data))
        width, height, *kind = struct.unpack(">IIBBBBB", chunks[0][1])
        packed = b"".join(body for name, body in chunks if name == b"IDAT")
        filtered = zlib.decompress(packed)
    except (struct.error, zlib.error, IndexError) as error:
        raise NotReadable(f"This PNG file is damaged: {error}.") from error
    if tuple(kind) != _KIND:
        raise NotReadable("Only PNG files with 8 bits of red, green, blue are read.")
    return Image(width, height, _unfiltered(filtered, width * CHANNELS))


def shrink(image: Image, *, factor: int) -> Image:
    """Make a picture so many times smaller: each pixel is the mean of a square.

    What is left over at the right and at the bottom is cut off.
    """
    width, height = image.width // factor, image.height // factor
    area = factor * factor
    small = bytearray(width * height * CHANNELS)
    rows = list(image.rows())
    position = 0
    for y in range(height):
        band = rows[y * factor : (y + 1) * factor]
        # First the sum of each column of bytes, then of the columns of each pixel.
        columns = [sum(column) for column in zip(*band, strict=True)]
        for x in range(width):
            start = x * factor * CHANNELS
            stop = start + factor * CHANNELS
            for channel in range(CHANNELS):
                total = sum(columns[start + channel : stop : CHANNELS])
                small[position] = (total + area // 2) // area
                position += 1
    return Image(width, height, bytes(small))


def _chunk(name: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(name + body)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = len(SIGNATURE)
    while position < len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        yield name, data[position + 8 : position + 8 + size]
        position += size + 12


def _unfiltered(filtered: bytes, stride: int) -> bytes:
    """Undo the five filters a row may have been written with."""
    pixels = bytearray()
    above = bytes(stride)
    for start in range(0, len(filtered), stride + 1):
        row = bytearray(filtered[start + 1 : start + 1 + stride])
        match filtered[start]:
            case 0:
                pass
            case 1:
                for i in range(CHANNELS, stride):
                    row[i] = (row[i] + row[i - CHANNELS]) & 255
            case 2:
                row = bytearray((a + b) & 255 for a, b in zip(row, above, strict=True))
            case 3:
                for i in range(stride):
                    left = row[i - CHANNELS] if i >= CHANNELS else 0
                    row[i] = (row[i] + (left + above[i]) // 2) & 255
            case 4:
                for i in range(stride):
                    left = row[i - CHANNELS] if i >= CHANNELS else 0
                    corner = above[i - CHANNELS] if i >= CHANNELS else 0
                    row[i] = (row[i] + _paeth(left, above[i], corner)) & 255
            case other:
                raise NotReadable(f"This PNG file is damaged: filter {other}.")
        pixels += row
        above = bytes(row)
    return bytes(pixels)


def _paeth(left: int, above: int, corner: int) -> int:
    """The neighbour that is nearest to left + above - corner."""
    guess = left + above - corner
    return min((left, above, corner), key=lambda value: abs(guess - value))
