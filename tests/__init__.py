"""Tests of our own code: unit (light environment), contract (embedded services through official clients)."""
