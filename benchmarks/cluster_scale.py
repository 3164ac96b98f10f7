"""A big cluster: 1,000 GPU nodes and 200 NIMs, by our program against kubectl with the same objects, in one run.

    .venv/bin/python -m benchmarks.cluster_scale [--nodes 1000] [--nims 200] [--rounds 3] [--skip-checkpoints]

The whole program, target `existing`, layout per-service (a namespace a NIM), NIMs by the NIM operator, on the control
plane of simulator/ (real API server, simulated nodes and operators, stand-in charts, see there). kubectl gets the
objects that Pulumi's state says it sent, without those in Helm releases, so it has a little less to do.
Unchanged previews and diffs take turns. `preview` compares with Pulumi's state, `preview --refresh` and `kubectl diff
--server-side` with the cluster. `up` installs the releases too and waits until every NIM is ready; it is held against
`kubectl apply --server-side` and `kubectl wait` on the NIMs, after `destroy`.

Prints wall seconds, peak memory of the command with all its children (RSS, so shared pages count more than once), and
ratios. Where the official Kubernetes plugin is missing, the provider of simulator/ takes its place, in Python; then
the numbers are of the engine, of our program and of that provider, and the first line says so.

Pulumi with its state in a file writes all of it at every step, which grows with the square of the resources.
`--skip-checkpoints` (PULUMI_SKIP_CHECKPOINTS) writes it once at the end: fast, but a killed `up` forgets what it made.

Of an unchanged preview it says too how much processor time our program takes (its imports, its settings and the
building of all resources), apart from what Pulumi's SDK then takes in the same process to send them and to read the
answers. The rest of a preview's time is that of the engine and of the provider.
"""

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from simulator.api import DEFINITIONS, ApiError
from simulator.charts import generate
from simulator.control_plane import ControlPlane
from simulator.provider import plugin
from simulator.pulumi_stack import NAME, PulumiStack, Update

KUBECTL = Path(sys.executable).with_name("kubectl")
MIB = 1024 * 1024
CPU_NODES = 5
SAMPLE_S = 0.2
# The project's program with a clock around it.
PROGRAM = """
import atexit, json, os, time
from pathlib import Path
sdk = time.process_time()
import infra.__main__
ours = time.process_time() - sdk
write = Path(os.environ["PROGRAM_TIMES"]).write_text
atexit.register(lambda: write(json.dumps({"ours": ours, "sdk": time.process_time() - ours})))
"""
# Kinds that are there without a release of the stack, in an order in which they can be made.
APPLIED = ("Namespace", "LimitRange", "Secret", "NetworkPolicy", "ServiceAccount", "NIMCache", "NIMService")


@dataclass
class Measured:
    """Runs of one command."""

    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0

    @property
    def median(self) -> float:
        """Median of the wall time, seconds."""
        return statistics.median(self.seconds)


class Meter:
    """Measures what runs below this process, the control plane excepted."""

    def __init__(self, plane: ControlPlane) -> None:
        self._apart = set(plane.pids.values())
        self.found: dict[str, Measured] = {}

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure the body as a run of `name`."""
        done, peak = threading.Event(), 0.0

        def sample() -> None:
            nonlocal peak
            while not done.wait(SAMPLE_S):
                peak = max(peak, self._memory())

        sampler = threading.Thread(target=sample)
        sampler.start()
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - started
            done.set()
            sampler.join()
        measured = self.found.setdefault(name, Measured())
        measured.seconds.append(seconds)
        measured.peak_mib = max(measured.peak_mib, peak)
        print(f"  {name}: {seconds:.1f} s, {peak:.0f} MiB", file=sys.stderr, flush=True)

    def _memory(self) -> float:
        total = 0
        for child in psutil.Process().children(recursive=True):
            if child.pid not in self._apart:
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += child.memory_info().rss
        return total / MIB


def settings(nims: int, charts: Path) -> dict[str, Any]:
    """Return the settings of a stack with many NIMs, each by the operator. The first is the one that jobs tune."""
    models = ["llama-3.2-3b-instruct", *(f"model-{number}" for number in range(1, nims))]
    return {
        "nemostack:target": "existing",
        "nemostack:charts": {"source": str(charts)},
        "nemostack:prerequisites": {"nim_operator": "install"},
        "nemostack:storage": {"rwx_class_name": "shared"},
        "nemostack:nims": [
            {
                "name": f"nim-{number}",
                "model": f"meta/{model}",
                "image": f"nvcr.io/nim/meta/{model}",
                "tag": "1.8.3",
                "deploy": "operator",
            }
            for number, model in enumerate(models)
        ],
    }


def make_stack(folder: Path, plane: ControlPlane, nims: int, variables: dict[str, str]) -> PulumiStack:
    """Make a stack that has not been brought up."""
    charts = folder / "charts"
    generate.write(charts)
    variables |= {"PROGRAM_TIMES": str(folder / "program-times.json")}
    stack = PulumiStack(folder / "program", plane.kubeconfig, variables)
    stack.program(PROGRAM, name="nemostack")
    (stack.folder / f"Pulumi.{NAME}.yaml").write_text(json.dumps({"config": settings(nims, charts)}))
    stack.init()
    stack.run("config", "set", "--secret", "--stack", NAME, "nemostack:ngc_api_key", "nvapi-of-the-benchmark")
    return stack


def objects(stack: PulumiStack) -> list[dict[str, Any]]:
    """Return what Pulumi sent to the API."""
    state = json.loads(stack.run("stack", "export", "--show-secrets", "--stack", NAME))
    found = []
    for resource in state["deployment"]["resources"]:
        inputs = unwrapped(resource.get("inputs", {}))
        if resource["type"].startswith("kubernetes:") and not resource.get("external") and "kind" in inputs:
            found.append({key: value for key, value in inputs.items() if not key.startswith("__")})
    return found


def write(path: Path, made: list[dict[str, Any]]) -> tuple[str, str]:
    """Write a manifest; kubectl's arguments for it."""
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    return "-f", str(path)


def unwrapped(value: Any) -> Any:
    """Return a value of the state with its secrets in plain text."""
    if isinstance(value, dict):
        if "plaintext" in value:
            return json.loads(value["plaintext"])
        return {key: unwrapped(inner) for key, inner in value.items()}
    return [unwrapped(inner) for inner in value] if isinstance(value, list) else value


def kubectl(plane: ControlPlane, *arguments: str) -> None:
    """Run kubectl; any code but 0 is an error, so a diff that finds one fails."""
    command = [str(KUBECTL), "--kubeconfig", str(plane.kubeconfig), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"error: kubectl {arguments[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[:2000]}"
        )


def measure(plane: ControlPlane, stack: PulumiStack, meter: Meter, *, folder: Path, rounds: int) -> dict[str, float]:
    """Do everything once, the unchanged comparisons `rounds` times.

    Returns the number of `objects` and the processor seconds of the last preview's program: `ours`, `sdk`.
    """
    with meter("pulumi preview, nothing there"):
        stack.preview()
    with meter("pulumi up"):
        stack.up()
    made = objects(stack)
    all_of_it = write(folder / "all.json", made)
    compare: dict[str, Callable[[], Any]] = {
        "pulumi preview, unchanged": lambda: expect_nothing(stack.preview()),
        "kubectl diff, unchanged": lambda: kubectl(plane, "diff", "--server-side", "--force-conflicts", *all_of_it),
        "pulumi preview --refresh, unchanged": lambda: expect_nothing(stack.preview("--refresh")),
    }
    for _ in range(rounds):
        for name, run in compare.items():
            with meter(name):
                run()
    program = json.loads((folder / "program-times.json").read_text())
    with meter("pulumi destroy"):
        stack.destroy()
    for kind in ("NIMCache", "NIMService"):
        with contextlib.suppress(ApiError):  # Helm leaves those of a chart's crds/ where they are
            plane.api.create(DEFINITIONS, generate.definition("apps.nvidia.com/v1alpha1", kind))
    ours = [thing for thing in made if thing["kind"] in APPLIED]
    applied = write(folder / "applied.json", sorted(ours, key=lambda thing: APPLIED.index(thing["kind"])))
    with meter("kubectl apply and wait"):
        with meter("kubectl apply"):
            kubectl(plane, "apply", "--server-side", *applied)
        kubectl(
            plane,
            "wait",
            "--for=jsonpath={.status.state}=Ready",
            "nimservices",
            "--all",
            "--all-namespaces",
            "--timeout=600s",
        )
    return {"objects": len(made), **program}


def expect_nothing(update: Update) -> None:
    """Fail when an unchanged stack has changes: then the comparison is of something else."""
    if update.changes:
        raise SystemExit(f"error: an unchanged stack shows changes: {update.touched}")


RATIOS = (
    ("pulumi preview, unchanged", "kubectl diff, unchanged"),
    ("pulumi preview --refresh, unchanged", "kubectl diff, unchanged"),
    ("pulumi up", "kubectl apply and wait"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1000, help="GPU nodes, with 4 GPUs each")
    parser.add_argument("--nims", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-checkpoints", action="store_true", help="write Pulumi's state once, not at every step")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="nemostack-scale-") as name,
        ControlPlane.start(Path(name) / "plane") as plane,
    ):
        started = time.monotonic()
        plane.add_gpu_nodes(args.nodes)
        plane.add_nodes(CPU_NODES)
        print(f"{args.nodes} nodes ready after {time.monotonic() - started:.0f} s", file=sys.stderr)
        variables = {"PULUMI_SKIP_CHECKPOINTS": "true"} if args.skip_checkpoints else {}
        stack = make_stack(Path(name), plane, args.nims, variables)
        meter = Meter(plane)
        program = measure(plane, stack, meter, folder=Path(name), rounds=args.rounds)
    by = "the official plugin" if not plugin.is_own() else "the provider of simulator/"
    print(f"{args.nodes} nodes, {args.nims} NIMs, {program['objects']} objects, {by}")
    for what, measured in meter.found.items():
        print(f"{what:38} {measured.median:7.1f} s {measured.peak_mib:7.0f} MiB")
    for ours, theirs in RATIOS:
        first, second = meter.found[ours], meter.found[theirs]
        print(
            f"{ours} / {theirs}: time {first.median / second.median:.2f}, memory {first.peak_mib / second.peak_mib:.2f}"
        )
    diff = meter.found["kubectl diff, unchanged"].median
    for part, whose in (("ours", "our program"), ("sdk", "Pulumi's SDK in the same process")):
        print(
            f"{whose}: {program[part]:.1f} s of processor time in a preview, {program[part] / diff:.2f} of kubectl diff"
        )


if __name__ == "__main__":
    main()
