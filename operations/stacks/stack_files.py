"""Keeps tracked stack files (`Pulumi.<stack>.yaml`) as they are in git.

Pulumi writes the salt of the passphrase into the stack's file on every command. The state holds the same salt, and
the engine falls back to it (docs/adr/0004), so a line that a command added is taken out again. Refuses to touch a
salt that was there before, or one beside encrypted values: those belong to the user.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SALT = re.compile(r"^encryptionsalt:.*\n?", re.MULTILINE)
SECRET = re.compile(r"^\s+secure:", re.MULTILINE)


@contextmanager
def kept(root: Path) -> Iterator[None]:
    """Stack files under `root` come out of the body without a salt that they did not have before."""
    before = {path: path.read_text() for path in root.glob("Pulumi.*.yaml")}
    try:
        yield
    finally:
        for path in root.glob("Pulumi.*.yaml"):
            restore(path, before.get(path))


def restore(path: Path, before: str | None) -> None:
    """Take a new salt out of one file; remove a file that held nothing else."""
    text = path.read_text()
    if (before is not None and SALT.search(before)) or SECRET.search(text) or not SALT.search(text):
        return
    without = SALT.sub("", text)
    if before is not None and without.split() == before.split():
        without = before  # also undoes what Pulumi did to blank lines
    if before is None and without.strip() in ("", "{}"):
        path.unlink()
    elif without != text:
        path.write_text(without)
