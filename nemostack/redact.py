"""Keeps secrets out of what is printed, logged and stored.

Hides the user part of URLs, bearer tokens, NVIDIA and Hugging Face keys wherever they stand in a text, and every
secret that was registered with `remember`. Refuses nothing: it is the last line, not the only one.
"""

import re
from typing import Any

HIDDEN = "******"
_PATTERNS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
    (re.compile(r"(\bbearer\s+)[A-Za-z0-9._~+/=-]{12,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(nvapi-)[A-Za-z0-9_-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\b(hf_)[A-Za-z0-9]{20,}"), rf"\1{HIDDEN}"),
    (
        re.compile(r"(\"?(?:api_key|password|token|secret)\"?\s*[:=]\s*[\"']?)[^\s\"',}]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)
SECRETS: set[str] = set()


def remember(secret: str) -> None:
    """Hide `secret` from now on. Shorter than four characters it would blot out ordinary text, so it is not."""
    if len(secret) >= 4:
        SECRETS.add(secret)


def redact(text: str) -> str:
    """`text` without secrets."""
    for secret in sorted(SECRETS, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redact_all(value: Any) -> Any:
    """Do the same for every string inside JSON-like `value`."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(item) for item in value]
    return value
