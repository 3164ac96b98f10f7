"""Aliases of served models: a name such as `prod` that leads to adapters, by weights.

What the NIM of the local stack takes and answers (`/v1/aliases`), what promotions say, and what they ask of whoever
routes by aliases (`AliasRouter`). Refuses weights that add up to nothing, models named twice, and names that could be
those of models (they hold a slash).
"""

from datetime import datetime
from typing import Annotated, Protocol, Self

from pydantic import Field, model_validator

from nemostack.models import Model

MANAGED = {"app.kubernetes.io/managed-by": "nemostack"}
"""Label of the aliases that are objects of a cluster, by which a stack gives their routes its time limits."""

AliasName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class Route(Model):
    """Where a share of the requests goes. The first route of an alias is the stable one."""

    model: str = Field(min_length=1, max_length=512)
    weight: float = Field(ge=0, le=1e6, allow_inf_nan=False)


class Shadow(Model):
    """A model that is asked the same in the background; its answers go nowhere."""

    model: str = Field(min_length=1, max_length=512)
    share: float = Field(default=1.0, gt=0, le=1, description="Of the requests")


class Alias(Model):
    """Where an alias leads."""

    routes: tuple[Route, ...] = Field(min_length=1, max_length=16)
    shadow: Shadow | None = None

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if sum(route.weight for route in self.routes) <= 0:
            raise ValueError("routes: the weights add up to nothing")
        if len({route.model for route in self.routes}) < len(self.routes):
            raise ValueError("routes: a model stands there twice")
        return self

    @property
    def stable(self) -> str:
        """The model that takes over where another one fails."""
        return self.routes[0].model

    @property
    def models(self) -> list[str]:
        """All models that it leads to, the shadow included."""
        return [*(route.model for route in self.routes), *([self.shadow.model] if self.shadow else [])]

    def __str__(self) -> str:
        total = sum(route.weight for route in self.routes)
        parts = [f"{route.model} {100 * route.weight / total:.0f} %" for route in self.routes if route.weight]
        shadow = [] if self.shadow is None else [f"shadow {self.shadow.model} {100 * self.shadow.share:.0f} %"]
        return ", ".join([*parts, *shadow])


class RouteStats(Model):
    """Requests of an alias that one model got since the alias was last set. Times in seconds, of the last 1,000."""

    requests: int = 0
    failures: int = 0
    first_byte_p50: float | None = None
    first_byte_p95: float | None = None
    total_p50: float | None = None
    total_p95: float | None = None


class AliasState(Model):
    """An alias as it is now."""

    name: str
    alias: Alias
    stats: dict[str, RouteStats] = Field(default_factory=dict)
    shadow_stats: RouteStats | None = None


class AliasRouter(Protocol):
    """Who routes requests by aliases: the local stack's NIM, the platform's gateway, what a cluster has before NIM."""

    @property
    def limits(self) -> str:
        """What it does not do that the local stack's NIM does, as the end of a sentence; "" for that one itself."""

    def aliases(self) -> dict[str, AliasState]:
        """All aliases by name. ServiceError with status 404 where nothing routes by them."""

    def set_alias(self, name: str, alias: Alias) -> None:
        """Let an alias lead elsewhere. Conflict for a model that is not served, or a name that is somebody else's."""

    def remove_alias(self, name: str) -> None:
        """Forget an alias. NotFound when there is none."""


class Sampling(Model):
    """How much of an alias's traffic is sampled, and how many of the newest are kept."""

    share: float = Field(gt=0, le=1)
    keep: int = Field(default=200, ge=1, le=1000)


class Sampled(Model):
    """One question and its answer, without who asked. `number` counts those of the alias."""

    number: int
    at: datetime
    model: str
    prompt: str
    answer: str
