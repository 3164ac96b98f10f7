"""Passwords that the stack makes: random once, then the same until the resource is replaced. Pulumi secrets throughout.

A dynamic provider, because passwords need no cloud plugin. The plugin process finds its class by name, so that the
state holds the password (encrypted, as every secret) and no code.
"""

import secrets
import string
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, ResourceProvider
from pulumi.dynamic import Resource as DynamicResource

ALPHABET = string.ascii_letters + string.digits
"""Nothing that would have to be escaped in a URI, a shell or an INI file."""


class PasswordProvider(ResourceProvider):
    """Makes a password."""

    serialize_as_secret_always = False  # it holds nothing; the value is an output

    def create(self, props: dict[str, Any]) -> CreateResult:
        """Make one of `length` characters."""
        length = int(props["length"])
        value = "".join(secrets.choice(ALPHABET) for _ in range(length))
        return CreateResult(secrets.token_hex(8), {"length": length, "value": value})

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        """Another length is another password; nothing else changes one, an upgrade of this module least of all."""
        replaces = ["length"] if int(olds["length"]) != int(news["length"]) else []
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=False)


class GeneratedPassword(DynamicResource, module="nemostack", name="GeneratedPassword"):
    """A random password of letters and digits."""

    value: pulumi.Output[str]

    def __init__(self, name: str, length: int = 32, opts: pulumi.ResourceOptions | None = None) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["value"])
        super().__init__(
            PasswordProvider(),
            name,
            {"length": length, "value": None},
            pulumi.ResourceOptions.merge(opts, secret),
        )
        self.value = pulumi.Output.secret(self.value)
