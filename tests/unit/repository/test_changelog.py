"""CHANGELOG.md against the version of the package."""

import re
from datetime import date

from nemostack.clone import ROOT
from nemostack.version import VERSION

HEADINGS = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_changes_since_the_last_release_come_first():
    assert HEADINGS[0] == "Unreleased"


def test_the_top_release_is_the_version_of_the_package():
    version, day = HEADINGS[1].split(" - ")
    assert version == VERSION
    assert date.fromisoformat(day)


def test_releases_are_in_descending_order():
    versions = [tuple(int(part) for part in heading.split(" - ")[0].split(".")) for heading in HEADINGS[1:]]
    assert versions == sorted(versions, reverse=True)
