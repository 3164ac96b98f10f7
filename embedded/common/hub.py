"""What can go wrong when `huggingface_hub` talks to the Data Store.

Its versions use different HTTP libraries (httpx, lately httpx2), so `except httpx.HTTPError` may miss a refused
connection. HUB_ERRORS are the bases of the hub's own error: that library's HTTPError, and OSError.
"""

from huggingface_hub.errors import HfHubHTTPError

HUB_ERRORS: tuple[type[Exception], ...] = tuple(
    base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)
)
