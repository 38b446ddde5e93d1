"""For those who test pipelines and stores."""

from treadle.testing.contract import StateStoreContract
from treadle.testing.faults import Fault, FaultyStore

__all__ = ["Fault", "FaultyStore", "StateStoreContract"]
