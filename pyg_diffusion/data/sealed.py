"""HDF5 files with a checksum of all their bytes: in a damaged one the library finds numbers that never were there, or loops.

The checksum stands before the file proper, in a user block of HDF5, which every HDF5 program passes over.
"""

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import h5py

from ..files import replacing

BLOCK = 512  # bytes, the smallest that HDF5 allows
_MARK = b"pyg_diffusion sealed 1 "
_HDF5 = b"\x89HDF\r\n\x1a\n"


def _seal_of(stream: BinaryIO) -> bytes:
    """The user block that a file should have: CRC-32 and number of the bytes behind it."""
    crc, size = 0, 0
    stream.seek(BLOCK)
    while piece := stream.read(1 << 20):
        crc, size = zlib.crc32(piece, crc), size + len(piece)
    return (_MARK + b"%08x %d\n" % (crc, size)).ljust(BLOCK, b"\0")


def seal(stream: BinaryIO) -> None:
    """Write the checksum of a file that was made with a user block, and is closed as far as HDF5 goes."""
    text = _seal_of(stream)
    stream.seek(0)
    stream.write(text)


def is_damaged(path: str | os.PathLike) -> bool:
    """Whether the bytes are not those that were sealed; False where the file was never sealed, as older ones."""
    with open(path, "rb") as stream:
        head, signature = stream.read(BLOCK), stream.read(len(_HDF5))
        if not head.startswith(_MARK):
            return signature == _HDF5  # it had a seal
        return head != _seal_of(stream)


@contextmanager
def sealed_file(path: str | os.PathLike) -> Iterator[h5py.File]:
    """A new HDF5 file, which takes the place of `path`, sealed, when the block ends, and leaves nothing where that fails."""
    image = io.BytesIO()  # HDF5 itself, on a full disk, takes the process along
    with h5py.File(image, "w", userblock_size=BLOCK) as file:
        yield file
    seal(image)
    with replacing(path) as temporary:
        temporary.write_bytes(image.getbuffer())
