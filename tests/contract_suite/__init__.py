"""Promises of the services that the embedded ones (tests/contract) and the fake stack of the unit tests both keep.

A class per service, whose tests ask for fixtures; who inherits from it provides these for an environment. Only what
the fake stack serves is here: what the embedded services promise beyond it is tested in tests/contract alone.
"""
