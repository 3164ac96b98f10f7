"""`nemostack images`: the list that a mirror needs, and a check against registries that were closed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import options as o
from nemostack import clone
from nemostack.errors import BadInput, Unhealthy

if TYPE_CHECKING:
    from infra.config import ClusterStackConfig
    from infra.images import ChartUse


def images(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A stack file. Default: the one of --stack.", show_default=False),
    ] = None,
    *,
    stack: o.StackOption = "local",
) -> None:
    """Print every image that a cluster stack would pull: image, tab, what it is for. Exit code 8 if some are unknown.

    Charts are rendered by helm. Those behind a login of NGC must be in the folder of charts.source.
    """
    from infra import config, images
    from infra.config import stack_file
    from infra.rendered_images import images_in
    from infra.topology import resolve_topology
    from nemostack.withdrawn_images import withdrawn
    from operations.stacks import stacks
    from operations.toolchain import programs

    path = file or stacks.settings_file(stack)
    settings = stack_file.check(path)
    if not isinstance(settings, config.ClusterStackConfig):
        raise BadInput(f"{path.name}: target {settings.target} runs processes and pulls no image")
    helm = programs.ensure(["helm"])["helm"]
    topology = resolve_topology(settings)
    found, problems = images.own_images(settings, topology), list[str]()
    for use in images.chart_uses(settings, topology):
        try:
            rendered = _render(helm, settings, use)
        except Unhealthy as error:
            problems.append(str(error))
            continue
        for image in images_in(rendered):
            found.setdefault(image, f"chart {use.chart.name}, release {use.namespace}/{use.name}")
    for image, purpose in sorted(found.items()):
        typer.echo(f"{image}\t{purpose}")
        if gone := withdrawn(image):
            problems.append(f"{image} was withdrawn on {gone.since} ({gone.source}): {gone.successor}")
    if problems:
        raise Unhealthy("\n".join(problems))


def _render(helm: str, settings: "ClusterStackConfig", use: "ChartUse") -> str:
    """Render a chart. Raises Unhealthy if it cannot be had."""
    import subprocess

    import yaml

    from infra.platform.helm import ChartStore

    if use.chart.ngc_login and settings.charts.source is None:
        raise Unhealthy(
            f"chart {use.chart.name} of release {use.namespace}/{use.name} is behind a login: `helm pull` it into a "
            "folder and name that as charts.source; its images are not in the list"
        )
    reference = ChartStore(settings.charts, clone.ROOT, None).reference(use.chart)
    command = [helm, "template", use.name, reference["chart"], "--namespace", use.namespace, "--values", "-"]
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
