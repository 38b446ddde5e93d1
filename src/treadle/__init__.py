"""Work items through a DAG of stages, one durable step at a time, with people in the loop.

Names are loaded when they are first used, so that ``import treadle`` costs next to nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.engine import Engine as Engine
    from treadle.errors import InvalidArtefact as InvalidArtefact
    from treadle.errors import InvalidItem as InvalidItem
    from treadle.errors import InvalidTransition as InvalidTransition
    from treadle.errors import InvalidWorkflow as InvalidWorkflow
    from treadle.errors import ItemConflict as ItemConflict
    from treadle.errors import ItemNotFound as ItemNotFound
    from treadle.errors import LeaseLost as LeaseLost
    from treadle.errors import ReviewConflict as ReviewConflict
    from treadle.errors import SchemaTooNew as SchemaTooNew
    from treadle.errors import SourceFailed as SourceFailed
    from treadle.errors import StageNotFound as StageNotFound
    from treadle.errors import StoreCorrupt as StoreCorrupt
    from treadle.errors import StoreError as StoreError
    from treadle.errors import StoreFull as StoreFull
    from treadle.errors import StoreUnavailable as StoreUnavailable
    from treadle.errors import TreadleError as TreadleError
    from treadle.event import EventKind as EventKind
    from treadle.event import WorkflowEvent as WorkflowEvent
    from treadle.inbox import Inbox as Inbox
    from treadle.outcome import Approve as Approve
    from treadle.outcome import AwaitingReview as AwaitingReview
    from treadle.outcome import Completed as Completed
    from treadle.outcome import FanOut as FanOut
    from treadle.outcome import PermanentError as PermanentError
    from treadle.outcome import QualityFeedback as QualityFeedback
    from treadle.outcome import Reject as Reject
    from treadle.outcome import RetryLater as RetryLater
    from treadle.outcome import ReviewData as ReviewData
    from treadle.outcome import Skipped as Skipped
    from treadle.outcome import SubTask as SubTask
    from treadle.policy import RetryBudget as RetryBudget
    from treadle.script import run as run
    from treadle.stage import Stage as Stage
    from treadle.stage import StageContext as StageContext
    from treadle.state import ItemPhase as ItemPhase
    from treadle.state import StageState as StageState
    from treadle.state import StageStatus as StageStatus
    from treadle.state import SubTaskStatus as SubTaskStatus
    from treadle.status import PipelineStatus as PipelineStatus
    from treadle.status import RunReport as RunReport
    from treadle.store import StateStore as StateStore
    from treadle.stores.memory import MemoryStateStore as MemoryStateStore
    from treadle.stores.opening import open_store as open_store
    from treadle.stores.sqlite import SqliteStateStore as SqliteStateStore
    from treadle.workflow import Workflow as Workflow

__version__ = "0.1.0"

_HOME = {
    "engine": ("Engine",),
    "errors": (
        "InvalidArtefact", "InvalidItem", "InvalidTransition", "InvalidWorkflow", "ItemConflict", "ItemNotFound", "LeaseLost",
        "ReviewConflict", "SchemaTooNew", "SourceFailed", "StageNotFound", "StoreCorrupt", "StoreError", "StoreFull",
        "StoreUnavailable", "TreadleError",
    ),
    "event": ("EventKind", "WorkflowEvent"),
    "inbox": ("Inbox",),
    "outcome": (
        "Approve", "AwaitingReview", "Completed", "FanOut", "PermanentError", "QualityFeedback", "Reject", "RetryLater", "ReviewData",
        "Skipped", "SubTask",
    ),
    "policy": ("RetryBudget",),
    "script": ("run",),
    "stage": ("Stage", "StageContext"),
    "state": ("ItemPhase", "StageState", "StageStatus", "SubTaskStatus"),
    "status": ("PipelineStatus", "RunReport"),
    "store": ("StateStore",),
    "stores.memory": ("MemoryStateStore",),
    "stores.opening": ("open_store",),
    "stores.sqlite": ("SqliteStateStore",),
    "workflow": ("Workflow",),
}  # fmt: skip
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *sorted(_MODULE)]  # noqa: PLE0604 - names, all of them

logging.getLogger("treadle").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE})
