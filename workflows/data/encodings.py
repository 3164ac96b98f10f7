"""Bytes of a text file as text: UTF-8 with or without a byte order mark, UTF-16 and UTF-32 by theirs.

Other encodings, such as the CP949 of Korean spreadsheets, are read where they are named. Refuses to guess: a guess may
turn a text into another one. What a file in none of these looks like is said in the error.
"""

import codecs
from dataclasses import dataclass

_MARKS = (  # the longer ones first: that of UTF-16 begins that of UTF-32
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_LOOKED_AT = 256 * 1024


@dataclass(frozen=True)
class Decoded:
    """The text of a file, and how it was written."""

    text: str
    encoding: str
    mark: bool = False
    """Whether it begins with a byte order mark, which is no part of the text."""


class Undecodable(ValueError):  # noqa: N818 - named for what it is about
    """The bytes are no text in the encoding; `line` is the first one that is not."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def decode(content: bytes, encoding: str | None = None) -> Decoded:
    """Decode a whole file. Undecodable names the first line that is wrong, and what the file looks like."""
    for mark, codec, name in _MARKS:
        if content.startswith(mark):
            return Decoded(_decode(content[len(mark) :], codec, name), name, mark=True)
    if encoding is not None:
        return Decoded(_decode(content, encoding, encoding), encoding)
    try:
        return Decoded(content.decode("utf-8"), "UTF-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Undecodable(f"is not UTF-8{_looks_like(content)}", line) from error


def known_encoding(name: str) -> str | None:
    """Return the name that Python has for an encoding of texts; None where it knows none."""
    try:
        "".encode(name)  # codecs of bytes, such as base64, refuse
        return codecs.lookup(name).name
    except (LookupError, TypeError, ValueError):
        return None


def _decode(content: bytes, codec: str, name: str) -> str:
    try:
        return content.decode(codec)
    except UnicodeDecodeError as error:
        line = content[: error.start].decode(codec, "replace").count("\n") + 1
        raise Undecodable(f"is not {name}", line) from error


def _looks_like(content: bytes) -> str:
    """Say what the bytes look like to a detector, and how to have them read so."""
    from charset_normalizer import from_bytes

    best = from_bytes(content[:_LOOKED_AT]).best()
    if best is None:
        return "; write it as UTF-8, or name its encoding with --encoding"
    return (
        f"; it may be {best.encoding}: if so, `nemostack dataset convert` with --encoding {best.encoding} makes UTF-8"
    )
