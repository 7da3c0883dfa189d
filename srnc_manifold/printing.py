"""Standard output that never raises an exception, so that an error in printing does not lose results."""

from __future__ import annotations

import io
import os
from typing import Any


class ForgivingStream(io.RawIOBase):
    """An output stream that never raises an exception, so that an error in printing does not lose the results.

    Attributes
    ----------
    error : OSError or None
        The first error, for example because the reader has closed the pipe or the disk is full.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        try:
            return os.write(self._descriptor, data) if self.error is None else len(data)
        except OSError as error:
            self.error = error
            return len(data)


def forgiving(stream: Any, descriptor: int) -> tuple[ForgivingStream, Any]:
    """A raw stream that never raises, and a text stream on it that replaces characters that the encoding lacks."""
    if stream is None:  # the caller has closed it: open it, so that no other file, here or in a worker, gets its number
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        os.set_inheritable(descriptor, True)
    raw, encoding = ForgivingStream(descriptor), "utf-8" if stream is None else stream.encoding
    return raw, io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="replace", line_buffering=True)


def printable(text: object) -> str:
    """Text from data in one line, as it may be printed: what a terminal would obey is replaced by its code.

    Control characters, line ends, marks that turn the direction of text and halves of surrogate pairs are written as in
    Python, for example ``\\x1b``. The rest is unchanged; rich also needs it as ``rich.text.Text``, without markup.
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in str(text)
    )
