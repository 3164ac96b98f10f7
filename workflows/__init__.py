"""The harness: evaluates, customizes and compares a model on any running stack."""
