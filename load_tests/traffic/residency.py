"""Which requests found their adapter loaded, and how many slots for adapters the server has.

vLLM says how many adapters fit into one batch (`max_lora` of `vllm:lora_requests_info`), which other servers do not;
then `--lora-slots` is taken. No server says of a request whether it waited for its adapter, so that is worked out from
what a client can see:

- *warm, seen*: another reply of the same adapter was arriving when the request was sent, and went on for at least
  50 ms, so that the request found the adapter in use. It cannot have been unloaded.
- *cold, seen*: nothing of the adapter has ever arrived. Someone else may have used it before the run began.
- *estimated*: the slots keep the adapters whose output arrived last (LRU, as vLLM does), and never give up one that is
  in use.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import httpx

from load_tests.client.records import RequestRecord
from nemostack.clients.tls import shared_context

SlotsFrom = Literal["server", "option", "assumed"]
ASSUMED_SLOTS: Final = 4
_MAX_LORA: Final = re.compile(r'^vllm:lora_requests_info\{[^}]*\bmax_lora="(\d+)"', re.MULTILINE)
_PATHS: Final = ("/metrics", "/v1/metrics")
_ON_ITS_WAY_S: Final = 0.05
_SEND, _FIRST, _LAST = 0, 1, 2  # the order of events at the same time


@dataclass(frozen=True, slots=True)
class Slots:
    """The server's number of adapter slots, and who said so."""

    count: int
    told_by: SlotsFrom


def ask_slots(
    nim_url: str, option: int | None, *, api_key: str | None = None, transport: httpx.BaseTransport | None = None
) -> Slots:
    """Return what the server says, else the option, else four. A server without metrics is no failure."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with httpx.Client(timeout=5, transport=transport, headers=headers, verify=shared_context(httpx)) as http:
        for path in _PATHS:
            try:
                found = _MAX_LORA.search(http.get(f"{nim_url.rstrip('/')}{path}").text)
            except httpx.HTTPError:
                continue
            if found and int(found[1]) > 0:
                return Slots(int(found[1]), "server")
    return Slots(option, "option") if option is not None else Slots(ASSUMED_SLOTS, "assumed")


class _Loaded:
    """The adapters in the slots, the one used longest ago first, and those whose replies are arriving."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.order: OrderedDict[str, None] = OrderedDict()
        self.arriving: dict[str, int] = {}
        self.until: dict[str, float] = {}
        self.loading: set[str] = set()
        self.ever: set[str] = set()

    def use(self, model: str, change: int) -> None:
        """Note that a reply began (+1) or ended (-1) to arrive."""
        self.arriving[model] = self.arriving.get(model, 0) + change
        self.ever.add(model)
        self.loading.discard(model)
        self.order[model] = None
        self.order.move_to_end(model)
        self._make_room()

    def load(self, model: str) -> None:
        """Note that an adapter is to be loaded: another one leaves at once, or as soon as one is idle."""
        self.loading.add(model)
        self._make_room()

    def _make_room(self) -> None:
        for other in list(self.order):
            if len(self.order) + len(self.loading) <= self.slots:
                break
            if not self.arriving.get(other):
                del self.order[other]


def mark_cold(records: Sequence[RequestRecord], *, base: str, slots: int) -> None:
    """Set `cold` and `cold_from` of every request that was sent; the base model is never cold."""
    events: list[tuple[float, int, RequestRecord]] = []
    for record in records:
        if record.t_send is None or record.model == base:
            continue
        events.append((record.t_send, _SEND, record))
        if record.t_first is not None:
            events.append((record.t_first, _FIRST, record))
            events.append((max(record.t_last or 0.0, record.t_first), _LAST, record))
    loaded = _Loaded(slots)
    for at, kind, record in sorted(events, key=lambda event: (event[0], event[1], event[2].id)):
        if kind == _FIRST:
            loaded.use(record.model, +1)
            loaded.until[record.model] = max(loaded.until.get(record.model, 0.0), record.t_last or 0.0)
        elif kind == _LAST:
            loaded.use(record.model, -1)
        elif loaded.arriving.get(record.model, 0) > 0:
            certain = loaded.until[record.model] > at + _ON_ITS_WAY_S
            record.cold, record.cold_from = False, "seen" if certain else "estimate"
        elif record.model not in loaded.ever:
            record.cold, record.cold_from = True, "seen"
        else:
            record.cold, record.cold_from = record.model not in loaded.order, "estimate"
        if kind == _SEND and record.cold and record.t_first is not None:
            loaded.load(record.model)
