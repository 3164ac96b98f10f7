"""Tests in the environment of the open NeMo Platform, where both its code and ours can be imported."""
