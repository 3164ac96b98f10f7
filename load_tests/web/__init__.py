"""Locust's page with tabs of our own: what the run measures, while it runs."""
