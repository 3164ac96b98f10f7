"""Bringing stacks of this clone up and down, in an environment in which Pulumi works."""
