"""`nemostack images`: the list that a mirror needs, and a check against registries that were closed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o
from nemostack import clone
from nemostack.errors import BadInput, Unhealthy

if TYPE_CHECKING:
    from infra.config import ClusterStackConfig
    from infra.config.section import Product
    from infra.config.stack import StackConfig
    from infra.images import ChartUse


def images(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A stack file. Default: the one of --stack.", show_default=False),
    ] = None,
    *,
    stack: o.StackOption = "local",
    target: Annotated[
        str | None,
        typer.Option(
            "--target", help="No file: a new stack of gke, eks, aks, existing or minikube.", show_default=False
        ),
    ] = None,
    product: o.ProductOption = "microservices",
) -> None:
    """Print every image that a cluster stack would pull: image, tab, what it is for. Exit code 8 if some are unknown.

    Charts are rendered by helm. For those behind a login of NGC, unless they are in the folder of charts.source, the
    images that were recorded of a version are printed.
    """
    from infra import config, images
    from infra.rendered_images import images_in
    from infra.topology import resolve_topology
    from nemostack.withdrawn_images import withdrawn
    from operations.toolchain import programs

    name, settings = _settings(file, stack, target, product)
    if not isinstance(settings, config.ClusterStackConfig):
        raise BadInput(f"{name}: target {settings.target} runs processes and pulls no image")
    helm = programs.ensure(["helm"])["helm"]
    topology = resolve_topology(settings)
    found, problems = images.own_images(settings, topology), list[str]()
    notices = [f"not in the list: {what}" for what in images.unlisted(topology)]
    for use in images.chart_uses(settings, topology):
        purpose = f"chart {use.chart.name}, release {use.namespace}/{use.name}"
        try:
            if use.chart.ngc_login and settings.charts.source is None:
                pulled, reserved = _recorded(settings, use)
                purpose = f"{purpose}, as recorded"
                notices.extend(one for one in reserved if one not in notices)
            else:
                pulled = images_in(_render(helm, settings, use))
        except Unhealthy as error:
            problems.append(str(error))
            continue
        for image in pulled:
            found.setdefault(image, purpose)
    for image, purpose in sorted(found.items()):
        typer.echo(f"{image}\t{purpose}")
        if gone := withdrawn(image):
            problems.append(f"{image} was withdrawn on {gone.since} ({gone.source}): {gone.successor}")
    for notice in notices:
        typer.echo(f"notice: {notice}", err=True)
    if problems:
        raise Unhealthy("\n".join(problems))


def _settings(file: Path | None, stack: str, target: str | None, product: "Product") -> "tuple[str, StackConfig]":
    """Return the settings that the user means, and how to call them."""
    from infra.config import stack_file
    from operations.stacks import stacks

    if target is None:
        path = file or stacks.settings_file(stack)
        return path.name, stack_file.check(path)
    if file is not None:
        raise BadInput(f"--target {target} is for a stack without a file: leave out {file}, or the option")
    return f"--target {target}", stack_file.starter_settings(target, product)


def _recorded(settings: "ClusterStackConfig", use: "ChartUse") -> tuple[set[str], list[str]]:
    """Return the recorded images of a chart and what to know of them. Raises Unhealthy where there are none."""
    from infra.recorded_images import recorded_images, reservation

    version = settings.charts.versions.get(use.chart.name, use.chart.version)
    reserved = reservation(use, version)
    return recorded_images(use, version), [reserved] if reserved else []


def _render(helm: str, settings: "ClusterStackConfig", use: "ChartUse") -> str:
    """Render a chart. Raises Unhealthy if it cannot be had."""
    import subprocess

    import yaml

    from infra.platform.helm import ChartStore

    reference = ChartStore(settings.charts, clone.ROOT, None).reference(use.chart)
    command = [helm, "template", use.name, reference["chart"], "--namespace", use.namespace, "--values", "-"]
    command.append("--skip-tests")  # only `helm test` would pull their images
    if not Path(reference["chart"]).is_dir():
        command += ["--version", reference["version"]]
    if settings.charts.source is None and not reference["chart"].startswith("oci://"):
        command += ["--repo", use.chart.repository]
    done = subprocess.run(command, input=yaml.safe_dump(use.values), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unhealthy(
            f"chart {use.chart.name} cannot be rendered, its images are not in the list: {done.stderr.strip()}"
        )
    return done.stdout
