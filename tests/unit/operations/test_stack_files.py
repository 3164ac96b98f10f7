"""Tracked stack files come out of a command as they went in."""

from pathlib import Path

import pytest

from operations.stacks.stack_files import kept

COMMENTED = "# comment\nconfig:\n  nemostack:target: local # why\n"
SALT = "encryptionsalt: v1:abc=:v1:def:ghi==\n"


@pytest.mark.parametrize("written", [COMMENTED + SALT, SALT + COMMENTED, COMMENTED.rstrip("\n") + "\n\n" + SALT])
def test_new_salt_is_taken_out(tmp_path: Path, written: str) -> None:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(COMMENTED)
    with kept(tmp_path):
        file.write_text(written)
    assert file.read_text() == COMMENTED


def test_salt_is_taken_out_after_an_error_too(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(COMMENTED)

    def interrupted_command() -> None:
        with kept(tmp_path):
            file.write_text(COMMENTED + SALT)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_command()
    assert file.read_text() == COMMENTED


def test_other_changes_stay(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(COMMENTED)
    with kept(tmp_path):
        file.write_text(COMMENTED + "  nemostack:more: 1\n" + SALT)
    assert file.read_text() == COMMENTED + "  nemostack:more: 1\n"


def test_salt_of_the_user_stays(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(COMMENTED + SALT)
    with kept(tmp_path):
        file.write_text(COMMENTED + SALT)
    assert file.read_text() == COMMENTED + SALT


def test_salt_beside_secrets_stays(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text(COMMENTED)
    secret = COMMENTED + "  nemostack:key:\n    secure: v1:x\n" + SALT
    with kept(tmp_path):
        file.write_text(secret)
    assert file.read_text() == secret


def test_file_of_nothing_but_salt_is_removed(tmp_path: Path) -> None:
    with kept(tmp_path):
        (tmp_path / "Pulumi.test.yaml").write_text(SALT)
    assert list(tmp_path.iterdir()) == []
