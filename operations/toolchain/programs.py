"""The programs that stacks and tests need, by the name of their set.

Only `pulumi` is for everyone: users never wait for the others, which are got when they are asked for by name.
"""

import shutil
from pathlib import Path

from nemostack.errors import ToolchainError
from operations.toolchain import golang, kubernetes, release
from operations.toolchain.program_set import ProgramSet, version_of

PULUMI_MINIMUM = (3, 150)
# Later versions of this module no longer hold the program; this one works with today's CLI and SDK.
LANGUAGE_HOST_VERSION = "3.70.0"
SDK_MODULE = "github.com/pulumi/pulumi/sdk/v3"


def pulumi_is_good(program: str) -> bool:
    """Whether a pulumi CLI is new enough."""
    version = version_of([program, "version"], {"PULUMI_SKIP_UPDATE_CHECK": "true"})
    return version is not None and version >= PULUMI_MINIMUM and version[0] == PULUMI_MINIMUM[0]


def build_pulumi(folder: Path) -> None:
    """Fill `folder`/bin with the CLI, the host of Python programs, and the two scripts that these two start."""
    target = folder / "bin"
    target.mkdir()
    version = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"
    golang.build(
        "language-python",
        f"{SDK_MODULE}/python/cmd/pulumi-language-python",
        target / "pulumi-language-python",
        version=LANGUAGE_HOST_VERSION,
        variables={version: LANGUAGE_HOST_VERSION},
        takes="30 s",
    )
    sources = golang.module_folder("python-scripts", SDK_MODULE) / "python"
    for script in (sources / "cmd" / "pulumi-language-python-exec", sources / "dist" / "pulumi-resource-pulumi-python"):
        copied = target / script.name
        shutil.copyfile(script, copied)
        copied.chmod(0o755)
    golang.build(
        "pulumi",
        "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
        target / "pulumi",
        version=release.VERSION,
        variables={version: release.VERSION},
        takes="4 min",
    )


PULUMI = ProgramSet(
    programs=("pulumi", "pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python"),
    good=pulumi_is_good,
    wanted=f"pulumi {'.'.join(map(str, PULUMI_MINIMUM))} or later",
    ways=(
        (f"pulumi-{release.VERSION}", "official release", release.download),
        (f"pulumi-{release.VERSION}-built", "build from Go modules", build_pulumi),
    ),
    remedy="Install Pulumi from https://www.pulumi.com/docs/install/ or give this machine a way to the Go module proxy "
    "(GOPROXY), then try again.",
)
SETS = {"pulumi": PULUMI} | kubernetes.SETS
FOR_EVERYONE = ("pulumi",)


def ensure(names: list[str] | None = None) -> dict[str, str]:
    """Path of each program of the named sets (those for everyone by default), installed if need be."""
    if unknown := set(names or ()) - SETS.keys():
        raise ToolchainError(f"unknown programs {', '.join(sorted(unknown))}; known: {', '.join(SETS)}")
    return {name: path for chosen in names or FOR_EVERYONE for name, path in SETS[chosen].ensure().items()}
