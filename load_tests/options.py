"""The options of a load test, their checks, and the target they resolve to.

They are Locust options, so `locust -f load_tests/locustfile.py` and `nemostack load` take the same ones, and each can
come from an environment variable (`--rate` from NEMOSTACK_LOAD_RATE). The API key comes from NIM_API_KEY, and the
token for a NeMo Platform from NMP_ACCESS_TOKEN: arguments are visible to every user of a machine.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from load_tests import adapter_options, prompt_options
from load_tests.adapter_options import Beside
from load_tests.places import default_out
from load_tests.prompt_options import Asked
from load_tests.traffic.adapters import AdapterChoice
from load_tests.traffic.arrivals import Arrivals
from load_tests.traffic.popularity import Mix
from load_tests.traffic.profile import Points, mean_rate, read_profile
from load_tests.traffic.residency import Slots
from load_tests.traffic.token_texts import TokenTexts
from load_tests.traffic.trace import TraceRow, read_trace
from nemostack import stack_outputs
from nemostack.base_urls import base_url, notice
from nemostack.clients import Clients
from nemostack.clients.platform import access_token
from nemostack.errors import BadInput
from nemostack.outputs import StackOutputs, is_gateway
from nemostack.product import TITLES
from nemostack.redact import redact
from nemostack.validation import validation_lines

API_KEY_VARIABLE: Final = "NIM_API_KEY"


class LoadSpec(Asked):
    """One run, fully decided. Everything but the API key, so that it can be written beside the results."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nim_url: str = Field(pattern=r"^https?://[^\s]+$")
    target: str = "url"
    base_model: str | None = None
    arrivals: Arrivals = "closed"
    users: int = Field(ge=1)
    think_s: float = Field(default=0.0, ge=0)
    rate: float | None = Field(default=None, gt=0)
    rate_profile: Points = ()
    smoothness: float = Field(default=1.0, gt=0)
    trace: Path | None = None
    trace_speed: float = Field(default=1.0, gt=0)
    duration_s: float = Field(gt=0)
    warmup_s: float = Field(ge=0)
    grace_s: float = Field(gt=0)
    timeout_s: float = Field(gt=0)
    max_in_flight: int = Field(ge=1)
    adapters: AdapterChoice = "auto"
    mix: Mix
    beside: Beside = Beside()
    lora_slots: int | None = Field(default=None, ge=1)
    server_metrics: str = Field(default="auto", pattern=r"^(auto|off|https?://[^\s]+)$")
    dcgm_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    seed: int
    slo: Path | None = None
    out: Path

    @model_validator(mode="after")
    def _arrivals_complete(self) -> Self:
        if self.arrivals == "closed" and self.rate is not None:
            raise ValueError("--rate belongs to an open loop: add --arrivals constant, poisson or gamma")
        if self.arrivals not in {"closed", "trace"} and self.rate is None:
            raise ValueError(f"--arrivals {self.arrivals} needs --rate or --rate-profile")
        if self.arrivals != "closed" and self.think_s:
            raise ValueError("--think-time belongs to a closed loop")
        if self.smoothness != 1.0 and self.arrivals != "gamma":
            raise ValueError("--smoothness belongs to --arrivals gamma")
        return self

    @property
    def open_loop(self) -> bool:
        """Whether send times come from a schedule."""
        return self.arrivals != "closed"


class ModelShare(BaseModel):
    """A model of the run and the share of requests that go to it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    share: float


class RunManifest(BaseModel):
    """A run as decided before its first request: `run.json`. All workers read it, so that they load the same models."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec: LoadSpec
    base_model: str
    models: list[ModelShare]
    slots: Slots
    token_texts: TokenTexts | None = None
    churn_sources: list[tuple[str, str]] = []
    workers: int
    versions: dict[str, str]

    @property
    def model_ids(self) -> list[str]:
        """Base model first, then adapters by falling popularity."""
        return [model.id for model in self.models]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a load test to Locust's parser (or to one made by it)."""
    group = parser.add_argument_group("NIM load test", "Each option can also come from NEMOSTACK_LOAD_<NAME>")

    def add(name: str, **settings: Any) -> None:
        variable = "NEMOSTACK_LOAD_" + name.removeprefix("--").replace("-", "_").upper()
        group.add_argument(name, env_var=variable, **settings)

    add("--stack", metavar="NAME", help="Pulumi stack whose outputs name the NIM, e.g. local")
    add("--outputs", metavar="FILE", help="Stack outputs from a JSON file instead")
    add("--nim-url", metavar="URL", help="NIM's address, without a stack")
    add("--base-model", metavar="ID", help="Base model (default: the stack's, or the only one that NIM lists)")
    add(
        "--adapters",
        default="auto",
        metavar="auto|all|none|ID,...",
        help="LoRA adapters to load: those that NIM lists (auto, the default), the same but at least one (all), or ids",
    )
    adapter_options.add_options(add)
    add(
        "--server-metrics",
        default="auto",
        metavar="auto|off|URL",
        help="Where the server's own numbers are read during the run: NIM's /metrics (auto), nowhere, or an address",
    )
    add("--dcgm-url", metavar="URL", help="DCGM exporter of the server's GPUs, e.g. http://node:9400/metrics")
    add("--arrivals", default="closed", choices=["closed", "constant", "poisson", "gamma"], help="Default: closed loop")
    add("--rate", type=float, help="Open loop: requests per second, over all workers")
    add(
        "--rate-profile",
        metavar="TIME=RATE,...",
        help="Open loop: a ramp (0s=2,60s=20) or spike (0s=5,30s=5,30s=50,40s=50,40s=5), from the start of the window",
    )
    add(
        "--trace",
        metavar="FILE",
        help="Send requests at the times and with the lengths and models of a trace (Mooncake, AIPerf, Azure) or of a "
        "run's requests.jsonl",
    )
    add("--trace-speed", type=float, default=1.0, metavar="FACTOR", help="So many times as fast (default: 1)")
    add("--smoothness", type=float, default=1.0, help="Gamma arrivals: < 1 bursty, 1 = Poisson, > 1 even")
    add("--max-in-flight", type=int, default=512, help="Open loop: cap per worker; beyond it arrivals are dropped")
    add("--think-time", default="0s", metavar="TIME", help="Closed loop: pause of a user between requests")
    add("--duration", metavar="TIME", help="Measurement window, e.g. 20s or 5m (default: 30s, or what the trace has)")
    add("--warmup", default="5s", metavar="TIME", help="Same load before the window, not measured (default: 5s)")
    add("--grace", default="30s", metavar="TIME", help="Wait for requests in flight after the window (default: 30s)")
    add("--request-timeout", default="60s", metavar="TIME", help="Limit for one whole reply (default: 60s)")
    prompt_options.add_options(add)
    add("--seed", type=int, default=0, help="Of arrivals, adapter choice and prompt order")
    add("--slo", metavar="FILE", help="SLO file that decides the verdict and exit code")
    add(
        "--out", metavar="DIR", default=str(default_out()), help="Where results go; a new folder (default: runs/load-*)"
    )


def api_key(url: str) -> str | None:
    """Return the key for NIM at `url`; for the gateway of a NeMo Platform the user's token does as well."""
    return os.environ.get(API_KEY_VARIABLE) or (access_token() if is_gateway(url) else None)


def _seconds(option: str, text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        pass
    from locust.util.timespan import parse_timespan  # patches the standard library: not for whoever only reads options

    try:
        return float(parse_timespan(text))
    except ValueError as error:
        raise BadInput(f"{option} {text!r} is not a time such as 20s, 5m or 1m30s") from error


def stop_timeout_s(options: argparse.Namespace) -> float:
    """Seconds for which Locust lets users finish; a little more than the grace that the run itself allows."""
    return _seconds("--grace", options.grace) + 2


def _target(options: argparse.Namespace) -> tuple[str, str, StackOutputs | None]:
    """Kind of target, URL of NIM or of the platform's gateway, and the outputs if a stack is the target."""
    urls = [url for url in (options.nim_url, getattr(options, "host", None)) if url]
    given = [name for name, value in (("--stack", options.stack), ("--outputs", options.outputs)) if value]
    given += ["--nim-url"] if urls else []
    if not given and os.environ.get(stack_outputs.ENV_OUTPUTS):
        given = [stack_outputs.ENV_OUTPUTS]
    if len(given) != 1:
        problem = "no target" if not given else f"{' and '.join(given)} name more than one target"
        raise BadInput(f"{problem}: give one of --stack NAME, --outputs FILE or --nim-url URL")
    if urls:
        if line := notice("nim_url", urls[0], name="--nim-url"):
            print(f"notice: {redact(line)}", file=sys.stderr)
        return "url", base_url("nim_url", urls[0]), None
    outputs = stack_outputs.resolve(options.stack or "local", Path(options.outputs) if options.outputs else None, {})
    through = "" if outputs.product == "microservices" else f", through the gateway of the {TITLES[outputs.product]}"
    return f"{outputs.target}{through}", outputs.inference_url, outputs


def adapters_behind(outputs: StackOutputs) -> list[str]:
    """List the base model's adapters that the platform's gateway serves: its list of models does not tell whose."""
    with Clients(outputs) as clients:
        served = set(clients.platform.served())
        return sorted(served & {f"{one['workspace']}/{one['name']}" for one in clients.platform.adapters()})


def rows_from(options: argparse.Namespace) -> list[TraceRow]:
    """Read the trace of a run, the one time that it is read; nothing without one. Raises BadInput."""
    if not options.trace:
        return []
    if options.arrivals != "closed" or options.rate is not None or options.rate_profile:
        raise BadInput("--trace says when requests are sent: leave --arrivals, --rate and --rate-profile out")
    if options.trace_speed <= 0:
        raise BadInput(f"--trace-speed must be above 0, not {options.trace_speed:g}")
    return read_trace(Path(options.trace), speed=options.trace_speed)


def spec_from(options: argparse.Namespace, rows: Sequence[TraceRow]) -> LoadSpec:
    """Check parsed options and resolve the target. `rows`: those of the trace.

    Raises BadInput with one line per error, and TargetError.
    """
    kind, nim_url, outputs = _target(options)
    base_model = outputs.base_model if outputs is not None else None
    gateway = outputs if outputs is not None and outputs.product == "platform" else None
    adapters: AdapterChoice
    match options.adapters:
        case "auto" | "all" if gateway is not None:
            adapters = adapters_behind(gateway)
        case "auto" | "all" as adapters:
            pass
        case "none":
            adapters = []
        case ids:
            adapters = [model.strip() for model in ids.split(",") if model.strip()]
    if options.canary:
        adapters = list(adapter_options.canary_from(options.canary))
    warmup_s = _seconds("--warmup", options.warmup)
    duration_s = _seconds("--duration", options.duration or "30s")
    if rows and not options.duration:
        duration_s = max(1.0, math.floor(rows[-1].at_s - warmup_s) + 1.0)
    profile = read_profile(options.rate_profile, _seconds) if options.rate_profile else ()
    if profile and options.rate is not None:
        raise BadInput("--rate-profile says which rate when: leave --rate out")
    try:
        return LoadSpec(
            nim_url=nim_url,
            target=kind,
            base_model=options.base_model or base_model,
            **prompt_options.asked_from(options),
            arrivals="trace" if options.trace else options.arrivals,
            users=options.num_users or 1,
            think_s=_seconds("--think-time", options.think_time),
            rate=mean_rate(profile, duration_s) if profile and duration_s > 0 else options.rate,
            rate_profile=profile,
            smoothness=options.smoothness,
            trace=Path(options.trace) if options.trace else None,
            trace_speed=options.trace_speed,
            duration_s=duration_s,
            warmup_s=warmup_s,
            grace_s=_seconds("--grace", options.grace),
            timeout_s=_seconds("--request-timeout", options.request_timeout),
            max_in_flight=options.max_in_flight,
            adapters=adapters,
            mix=adapter_options.mix_from(options, _seconds),
            beside=Beside(**adapter_options.beside_from(options, _seconds, duration_s)),
            lora_slots=options.lora_slots,
            server_metrics=f"{gateway.nim_url}/metrics"
            if gateway is not None and options.server_metrics == "auto"
            else options.server_metrics,
            dcgm_url=options.dcgm_url,
            seed=options.seed,
            slo=Path(options.slo) if options.slo else None,
            out=Path(options.out),
        )
    except ValidationError as error:
        raise BadInput("; ".join(validation_lines(error))) from error
