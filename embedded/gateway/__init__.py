"""Gateway: one address for services that share a path space, as NVIDIA's ingress gives them one host.

Faithful: path prefixes, the longest of which wins; bodies and answers are streamed both ways (SSE, uploads).
Reduced: no TLS, no host names, no WebSockets, no retries.
Refuses paths that no prefix covers (404 naming the prefixes); answers 502 naming the upstream that does not answer.
"""

from pydantic import Field, field_validator

from embedded.common.service import ServiceSettings, serve


class Settings(ServiceSettings):
    """Routes of the gateway, besides what every service is told."""

    routes: dict[str, str] = Field(min_length=1, description="Path prefix (`/v1/models`) -> upstream URL")

    @field_validator("routes")
    @classmethod
    def _well_formed(cls, routes: dict[str, str]) -> dict[str, str]:
        for prefix, upstream in routes.items():
            if not prefix.startswith("/") or (prefix != "/" and prefix.endswith("/")):
                raise ValueError(f"prefix {prefix!r} must start, and not end, with a slash")
            if not upstream.startswith(("http://", "https://")):
                raise ValueError(f"upstream {upstream!r} of {prefix} must be an http:// or https:// URL")
        return {prefix: upstream.rstrip("/") for prefix, upstream in routes.items()}


def run(settings: Settings) -> None:
    from embedded.gateway.app import create_app

    serve(create_app(settings), settings)
