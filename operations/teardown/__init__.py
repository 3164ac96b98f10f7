"""Destroying a stack in a safe order, and a report of everything that is left."""
