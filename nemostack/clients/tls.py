"""The TLS context that the clients of one process share.

Each client of its own would read the certificates of all authorities again, which takes 20 ms and is longer than most
of the requests. The variables that name a private authority count as they are when a client is made.
"""

import os
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


def shared_context(library: ModuleType) -> "ssl.SSLContext":
    """Return the context with which `httpx` or `httpx2` verifies servers; each has its own list of authorities."""
    return _context(library, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@cache
def _context(library: ModuleType, _file: str | None, _folder: str | None) -> "ssl.SSLContext":
    context: ssl.SSLContext = library.create_ssl_context()
    return context
