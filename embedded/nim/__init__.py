"""NIM on a CPU: vLLM's own OpenAI server, NIM's health, metrics and model routes, adapters of a store or folder.

Faithful: the engine and the OpenAI API are vLLM's, unchanged, in the same process (no proxy on the token path);
adapters appear under `namespace/name@cust-id` as the platform's NIM lists them. It starts with what calls of tools and
JSON mode need; whether a model calls well is its own affair: the chat template of the sample base model does not write
tools, so that model is told of none and calls only what a request forces. Reduced: one base model, no TLS, no
container, and while the model loads the port refuses connections where a NIM answers 503.
"""

from embedded.nim.settings import Settings

__all__ = ["Settings", "run"]


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. SystemExit(1) when the model cannot be served or the engine dies."""
    from embedded.nim.server import serve

    serve(settings)
