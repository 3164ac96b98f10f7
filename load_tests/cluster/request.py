"""From the user's options to a run in the cluster: what its master is told, and which files go there and back.

Options from the environment (`NEMOSTACK_LOAD_RATE`) are told to the master as well, since its pod has another. Refuses
targets without a cluster, options by which the user spreads the load himself, and `--beside`: a worker on another
machine runs no command for its master.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load_tests import options as load_options
from load_tests import scenarios
from load_tests.cluster import pod
from load_tests.cluster.objects import FOLDER, JOURNEY_PATH, PORT
from load_tests.options import RunManifest
from nemostack import sample_dataset, stack_outputs
from nemostack.errors import BadInput, TargetError
from nemostack.files import write_atomically
from nemostack.outputs import StackOutputs, gateway_url

IMAGE_VARIABLE: Final = "NEMOSTACK_LOAD_IMAGE"
CONNECT_S: Final = 600
_FILES: Final = ("prompts", "trace", "tools", "slo")
_ALONE: Final = ("master", "worker", "processes", "expect_workers", "beside", "nim_url", "host")


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the user says of the pods."""

    workers: int
    image: str
    pull_secret: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """A run: `arguments` of the master, `files` that go with them by their names in its pod."""

    outputs: StackOutputs
    namespace: str
    arguments: list[str]
    files: dict[str, Path]
    out: Path
    target: str

    def packed(self) -> bytes:
        """Everything that the master's pod is sent. Raises BadInput."""
        try:
            contents = {name: path.read_bytes() for name, path in self.files.items()}
        except OSError as error:
            raise BadInput(f"cannot read {error.filename}: {error.strerror}") from error
        return pod.pack({pod.ARGUMENTS: json.dumps(self.arguments).encode(), **contents})

    def take_home(self) -> None:
        """Let the manifest that came back name the files and folders of this machine."""
        path = self.out / "run.json"
        manifest = RunManifest.model_validate_json(path.read_bytes())
        here: dict[str, Any] = dict(self.files)
        spec = manifest.spec.model_copy(update={**here, "out": self.out, "target": self.target})
        write_atomically(path, manifest.model_copy(update={"spec": spec}).model_dump_json(indent=2))


def fleet_from(known: argparse.Namespace) -> Fleet | None:
    """Check the options about pods; None for a run from this machine. Raises BadInput."""
    image = known.image or os.environ.get(IMAGE_VARIABLE)
    if known.workers is None:
        if known.image or known.image_pull_secret:
            raise BadInput("--image and --image-pull-secret belong to --workers N, a load from the stack's cluster")
        return None
    if known.workers < 1:
        raise BadInput(f"--workers must be 1 or more, not {known.workers}")
    if not image:
        raise BadInput(
            f"--workers starts pods, and they need an image with nemostack: give --image or {IMAGE_VARIABLE}. None is "
            "published; load_tests/cluster/Dockerfile makes one (docs/load-tests.md, From the stack's cluster)"
        )
    return Fleet(known.workers, image, known.image_pull_secret)


def request_from(
    fleet: Fleet, arguments: Sequence[str], environment: Mapping[str, str], *, journey: bool = False
) -> Request:
    """Make a run of the options of `nemostack load`. Raises BadInput, TargetError."""
    parser = argparse.ArgumentParser(prog="nemostack load", add_help=False, allow_abbrev=False)
    for name in ("--stack", "--outputs", "--base-model", "--adapters", "--server-metrics", "--out"):
        parser.add_argument(name)
    for name in _FILES:
        parser.add_argument(f"--{name}")
    for name in _ALONE:
        name_of_option = "--" + name.replace("_", "-")
        letters = ["-H"] if name == "host" else []
        parser.add_argument(*letters, name_of_option, nargs="?", const=True)
    known, rest = parser.parse_known_args([*_from_environment(arguments, environment), *arguments])
    if given := [name for name in _ALONE if getattr(known, name)]:
        raise BadInput(f"--{given[0].replace('_', '-')} is not for a load from the stack's cluster (--workers)")
    outputs = _outputs(known)
    namespace, nim_url = _target(outputs)
    files = {name: Path(getattr(known, name)) for name in _FILES if getattr(known, name)}
    if not known.prompts:
        files["prompts"] = sample_dataset.PROMPTS  # the image may have another version of them
    told = ["--nim-url", nim_url, "--base-model", known.base_model or outputs.base_model]
    told += ["--adapters", _adapters(known.adapters or "auto", outputs)]
    told += ["--server-metrics", _metrics(known.server_metrics or "auto", outputs)]
    for name in files:
        told += [f"--{name}", f"{FOLDER}/{name}"]
    told += ["--journey", JOURNEY_PATH] if journey else []
    told += ["--master", "--master-bind-host", "*", "--master-bind-port", str(PORT)]
    told += ["--expect-workers", str(fleet.workers), "--expect-workers-max-wait", str(CONNECT_S)]
    through = "" if outputs.product == "microservices" else ", through the platform's gateway"
    target = f"{outputs.target}, from {fleet.workers} workers in its cluster{through}"
    return Request(outputs, namespace, [*rest, *told], files, Path(known.out), target)


def _from_environment(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Options that the user gave by variables and not on the command line."""
    given = {word.partition("=")[0].removeprefix("--") for word in arguments if word.startswith("--")}
    options = scenarios.recorded(load_options.add_options)
    found = []
    for name in options:
        value = environment.get("NEMOSTACK_LOAD_" + name.replace("-", "_").upper())
        if value is None or name in given:
            continue
        if options[name].get("action") != "store_true":
            found.append(f"--{name}={value}")
        elif value.lower() in {"true", "yes", "1"}:
            found.append(f"--{name}")
    return found


def _outputs(known: argparse.Namespace) -> StackOutputs:
    if known.stack and known.outputs:
        raise BadInput("--stack and --outputs name more than one target: give one of them")
    if not known.stack and not known.outputs and not os.environ.get(stack_outputs.ENV_OUTPUTS):
        raise BadInput("--workers loads a stack from its own cluster: give --stack NAME or --outputs FILE")
    file = Path(known.outputs) if known.outputs else None
    outputs = stack_outputs.resolve(known.stack or "local", file, {})
    if outputs.cluster is None:
        raise TargetError(f"target {outputs.target} has no cluster to start workers in: --processes N starts them here")
    return outputs


def _target(outputs: StackOutputs) -> tuple[str, str]:
    """Namespace in which the load runs, and where it finds what it loads."""
    assert outputs.cluster is not None
    key = "nim" if outputs.product == "microservices" else "platform"
    address = outputs.cluster.services.get(key)
    if address is None:
        raise TargetError(f"the outputs of the stack name no service {key!r} in its cluster: run `nemostack up` again")
    namespace, _, entry = address.partition("/")
    service, _, port = entry.partition(":")
    url = f"http://{service}.{namespace}.svc:{port}"
    return namespace, url if outputs.product == "microservices" else gateway_url(url)


def _adapters(wanted: str, outputs: StackOutputs) -> str:
    if outputs.product == "microservices" or wanted not in {"auto", "all"}:
        return wanted
    return ",".join(load_options.adapters_behind(outputs)) or "none"


def _metrics(wanted: str, outputs: StackOutputs) -> str:
    if outputs.product == "microservices" or wanted != "auto":
        return wanted
    return f"{outputs.nim_internal_url}/metrics"
