"""A Kubernetes control plane without containers, and helm: what `simulator/` starts and calls.

Built from the Go modules that `go/{kubernetes,etcd,kwok,helm}` beside this file pin. kwok plays the nodes: what its
simulated nodes and pods do is written in stage files of its module, which are copied from there, so the two always fit.
Refuses other minor versions on PATH than those pinned: the flags that the tests pass belong to these.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from operations.toolchain import golang
from operations.toolchain.cache import cache_dir, install, install_lock
from operations.toolchain.program_set import ProgramSet, version_of

KUBERNETES_VERSION = "1.37.2"
ETCD_VERSION = "3.7.3"
KWOK_VERSION = "0.8.0"
HELM_VERSION = "4.3.1"

KWOK_MODULE = "sigs.k8s.io/kwok"
STAGES = (
    "node/fast/node-initialize.yaml",
    "node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
    "pod/fast/pod-ready.yaml",
    "pod/fast/pod-complete.yaml",
    "pod/fast/pod-delete.yaml",
)
COMPONENT_VERSION = "k8s.io/component-base/version"


def same_minor(version: str, *arguments: str) -> Callable[[str], bool]:
    """Make the check that a program says, when called with `arguments`, the major and minor number of `version`."""
    pinned = tuple(int(part) for part in version.split(".")[:2])
    return lambda program: version_of([program, *arguments]) == pinned


def build_kubernetes(folder: Path) -> None:
    """Fill `folder`/bin with API server, controller manager and scheduler, which then tell their version."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    for name, takes in (
        ("kube-apiserver", "7 min"),
        ("kube-controller-manager", "2 min"),
        ("kube-scheduler", "1 min"),
    ):
        golang.build(
            "kubernetes",
            f"k8s.io/kubernetes/cmd/{name}",
            folder / "bin" / name,
            version=KUBERNETES_VERSION,
            takes=takes,
            variables={
                f"{COMPONENT_VERSION}.gitVersion": f"v{KUBERNETES_VERSION}",
                f"{COMPONENT_VERSION}.gitMajor": major,
                f"{COMPONENT_VERSION}.gitMinor": minor,
            },
        )


def build_etcd(folder: Path) -> None:
    """Fill `folder`/bin with etcd."""
    golang.build("etcd", "go.etcd.io/etcd/server/v3", folder / "bin" / "etcd", version=ETCD_VERSION, takes="1 min")


def build_kwok(folder: Path) -> None:
    """Fill `folder`/bin with kwok."""
    golang.build(
        "kwok",
        f"{KWOK_MODULE}/cmd/kwok",
        folder / "bin" / "kwok",
        version=KWOK_VERSION,
        takes="1 min",
        variables={f"{KWOK_MODULE}/pkg/consts.Version": KWOK_VERSION},
    )


def build_helm(folder: Path) -> None:
    """Fill `folder`/bin with helm."""
    golang.build(
        "helm",
        "helm.sh/helm/v4/cmd/helm",
        folder / "bin" / "helm",
        version=HELM_VERSION,
        takes="2 min",
        variables={"helm.sh/helm/v4/internal/version.version": f"v{HELM_VERSION}"},
    )


def copy_stages(folder: Path) -> None:
    """Fill `folder` with kwok's stage files."""
    sources = golang.module_folder("kwok", KWOK_MODULE) / "kustomize" / "stage"
    for path in STAGES:
        shutil.copyfile(sources / path, folder / Path(path).name)


def stages() -> list[Path]:
    """Return kwok's stage files, in the cache folder: how simulated nodes come up and pods run, complete and go."""
    folder = cache_dir() / f"kwok-stages-{KWOK_VERSION}"
    with install_lock():
        if not folder.exists():
            install(folder, copy_stages)
    return [folder / Path(path).name for path in STAGES]


def built(name: str, version: str, programs: tuple[str, ...], asks: str, fill: Callable[[Path], None]) -> ProgramSet:
    """Make a set that is on PATH in the minor version pinned here or is built. `asks` makes it say its version."""
    minor = ".".join(version.split(".")[:2])
    return ProgramSet(
        programs=programs,
        good=same_minor(version, asks),
        wanted=f"{programs[0]} {minor}",
        ways=((f"{name}-{version}-built", "build from Go modules", fill),),
        remedy=f"Put {programs[0]} {minor} on PATH or give this machine a way to the Go module proxy (GOPROXY), "
        "then try again.",
    )


SETS = {
    "kubernetes": built(
        "kubernetes",
        KUBERNETES_VERSION,
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        "--version",
        build_kubernetes,
    ),
    "etcd": built("etcd", ETCD_VERSION, ("etcd",), "--version", build_etcd),
    "kwok": built("kwok", KWOK_VERSION, ("kwok",), "--version", build_kwok),
    "helm": built("helm", HELM_VERSION, ("helm",), "version", build_helm),
}
