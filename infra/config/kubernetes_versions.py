"""Kubernetes versions of the three clouds with the end of their support, and the default of each cloud.

A new cluster of a version whose support has ended is refused by its cloud (AKS), upgraded without being asked (EKS,
GKE) or both. Dates are the ends of standard support, not of paid extensions (EKS extended support, AKS LTS), which the
clusters of this program do not use. Sources, read on `READ_ON`:

- AKS: "Supported Kubernetes versions in AKS", https://learn.microsoft.com/azure/aks/supported-kubernetes-versions. A
  month without a day means its last day.
- EKS: "Understand the Kubernetes version lifecycle on EKS",
  https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html, by https://endoflife.date/amazon-eks.
- GKE: "GKE release schedule", https://cloud.google.com/kubernetes-engine/docs/release-schedule, by
  https://endoflife.date/google-kubernetes-engine. Google calls its dates estimates.
"""

from collections.abc import Iterator
from datetime import date, timedelta

READ_ON = date(2026, 11, 29)
WARNING_PERIOD = timedelta(days=60)
"""How long before the end of support a version is warned about."""

END_OF_SUPPORT: dict[str, dict[str, date]] = {
    "aks": {
        "1.32": date(2026, 3, 31),
        "1.33": date(2026, 7, 31),
        "1.34": date(2026, 11, 30),
        "1.35": date(2027, 3, 31),
        "1.36": date(2027, 6, 30),
    },
    "eks": {
        "1.31": date(2025, 11, 26),
        "1.32": date(2026, 3, 23),
        "1.33": date(2026, 7, 29),
        "1.34": date(2026, 12, 2),
        "1.35": date(2027, 3, 27),
        "1.36": date(2027, 8, 2),
    },
    "gke": {
        "1.32": date(2026, 4, 11),
        "1.33": date(2026, 8, 3),
        "1.34": date(2026, 10, 1),
        "1.35": date(2027, 4, 11),
        "1.36": date(2027, 8, 9),
    },
}
"""Cloud -> minor version -> last day of standard support."""

DEFAULTS = {"aks": "1.35", "eks": "1.35"}
"""Version of a new cluster where the settings name none: one step above the default before, because clouds upgrade a
cluster by one minor version at a time. GKE has none: its release channel decides, which knows what it still offers."""


def current_date() -> date:
    """Return today's date. Tests replace this function, so that none of them fails as time passes."""
    return date.today()  # noqa: DTZ011 - the end of support is a calendar day without a time zone


def supported(cloud: str, today: date) -> list[str]:
    """Return the versions of a cloud whose support has not ended, the oldest first."""
    return [version for version, end in END_OF_SUPPORT[cloud].items() if end >= today]


def version_problems(cloud: str, version: str | None, today: date) -> Iterator[str]:
    """Yield why a version cannot be used: its support has ended.

    None, the choice of the cloud, can be used, and so can a version that is newer than all in the table.
    """
    if version is None:
        return
    ends = END_OF_SUPPORT[cloud]
    if version in ends and ends[version] < today:
        since = f"since {ends[version]}"
    elif version not in ends and minor(version) < min(map(minor, ends)):
        since = "for a long time"
    else:
        return
    remedy = f"one of {', '.join(supported(cloud, today))}" if supported(cloud, today) else "a newer version"
    remedy += "" if cloud in DEFAULTS else ", or leave it out"
    yield f"{cloud}.kubernetes_version: {version} has had no support on {cloud.upper()} {since}: {remedy}"


def version_warnings(cloud: str, version: str | None, today: date) -> Iterator[str]:
    """Yield what to know of a version that can be used: it ends soon, or the table does not know it."""
    if version is None:
        return
    end = END_OF_SUPPORT[cloud].get(version)
    if end is None:
        yield (
            f"{cloud}.kubernetes_version: the end of support of {version} on {cloud.upper()} is not known to this "
            f"program, whose table is of {READ_ON}: check it with the cloud"
        )
    elif today <= end <= today + WARNING_PERIOD:
        yield (
            f"{cloud}.kubernetes_version: support of {version} on {cloud.upper()} ends on {end}: raise the version by "
            "one minor version before"
        )


def minor(version: str) -> int:
    """Return the minor version, e.g. 35 of 1.35."""
    return int(version.split(".")[1])
