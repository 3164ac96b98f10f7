"""The promises that the fake stack of the unit tests shares (tests/contract_suite), kept by the embedded services."""

from tests.contract_suite.data_store import DataStoreContract
from tests.contract_suite.entity_store import EntityStoreContract


class TestEntityStore(EntityStoreContract):
    """On the session's Entity Store."""


class TestDataStore(DataStoreContract):
    """On the session's Data Store."""
