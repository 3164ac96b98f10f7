"""Settings that work and deserve a word before `up`: each is one line, `path: what may happen: what to do`.

What cannot work is refused by the rules (rules.py).
"""

from collections.abc import Iterator
from datetime import date

from infra.config import kubernetes_versions
from infra.config.clusters import CloudCluster
from infra.config.stack import ClusterStackConfig


def warnings(config: ClusterStackConfig, today: date | None = None) -> Iterator[str]:
    """Yield the warnings of a configuration. `today`: the date to judge versions by; default: the current one."""
    cluster = config.cluster
    if not isinstance(cluster, CloudCluster):
        return
    if cluster.create:
        yield from kubernetes_versions.version_warnings(
            config.target, cluster.kubernetes_version, today or kubernetes_versions.current_date()
        )
