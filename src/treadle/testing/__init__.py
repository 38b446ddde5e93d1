"""For those who test pipelines and stores."""

from treadle.testing.contract import StateStoreContract

__all__ = ["StateStoreContract"]
