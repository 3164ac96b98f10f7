"""Where results go when the user does not say."""

import secrets
import time
from pathlib import Path


def default_out() -> Path:
    """Name a folder that does not exist yet."""
    return Path("runs") / f"load-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
