"""Waiting until NIM serves an adapter that was just trained, or a router a new alias: both take some seconds.

NIM looks for new adapters every few seconds. It may know the adapter and refuse it, e.g. for its rank. The embedded NIM
says so when it is asked for the model, and waiting would change nothing then. One that says nothing (NVIDIA's may) is
waited for until the deadline.
"""

from collections.abc import Callable

from nemostack.clients.nim import Nim
from nemostack.clients.polling import Pace, wait_for
from nemostack.errors import NotFound, ServiceError

_REFUSED = "is announced, but "
_NOT_FOR_GOOD = "trying again"


def wait_until_served(
    nim: Nim,
    model: str,
    *,
    deadline_s: float,
    outage_s: float,
    pace: Pace,
    tell: Callable[[str], None] | None = None,
) -> None:
    """ServiceError at once when NIM refuses the model for good; DeadlineExceeded says what NIM said last."""

    def look() -> str:
        """Say why it is not served; empty when it is."""
        served = nim.models()
        if model in served:
            return ""
        reason = _reason(nim, model)
        return f"NIM serves {', '.join(served) or 'nothing'}{f'; {reason}' if reason else ''}"

    wait_for(
        look,
        done=lambda missing: not missing,
        describe=lambda missing: missing or "served",
        what=f"NIM picking up {model}",
        deadline_s=deadline_s,
        outage_s=outage_s,
        pace=pace,
        tell=tell,
    )


def wait_until_answered(nim: Nim, alias: str, *, deadline_s: float) -> None:
    """Ask for an alias until it is answered, whatever the answer before; DeadlineExceeded says what came last."""

    def look() -> str:
        try:
            nim.chat(alias, "Hello", max_tokens=1)
        except ServiceError as error:
            return str(error)
        return ""

    wait_for(
        look,
        done=lambda problem: not problem,
        describe=str,
        what=f"answers for {alias}",
        deadline_s=deadline_s,
    )


def _reason(nim: Nim, model: str) -> str:
    """What NIM says of a model that it announces but does not serve; empty when it does not say."""
    try:
        nim.model(model)
    except NotFound as error:
        _, known, reason = str(error.args[0]).partition(_REFUSED)
        if known and _NOT_FOR_GOOD not in reason:
            raise ServiceError(
                f"NIM refuses to serve {model}: {reason}",
                hint="once NIM serves it, the same command goes on",
            ) from error
        return reason
    except ServiceError:
        pass  # it has no such route, or is away: the next look at the list tells
    return ""
