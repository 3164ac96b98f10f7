"""The local stack under the real Pulumi engine."""
