"""The files of this repository as git sees them: what is committed, and what could be."""

import subprocess

from nemostack.clone import ROOT


def tracked(*folders: str) -> list[str]:
    """List the files of some folders, or of all, by their path in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]
