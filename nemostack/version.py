"""The version of the project. The newest release in CHANGELOG.md has the same."""

VERSION = "0.1.0"
