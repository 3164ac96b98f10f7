"""The clone of this repository that the package lies in: its folder, and the commit that is checked out.

An installed package has no clone: `ROOT` is then the folder that it was installed into, and there is no commit, also
where that folder lies inside of somebody else's repository.
"""

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
GIT_S: Final = 10


def describe_commit() -> str | None:
    """Return the full id of the commit, with `-dirty` when files differ from it; None without git or a clone."""
    # with the folder named, git looks neither in the folders around it nor into the environment
    where = [f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}"]
    command = ["git", *where, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
