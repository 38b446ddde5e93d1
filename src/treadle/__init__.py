"""Work items through a DAG of stages, one durable step at a time, with people in the loop.

Names are loaded when they are first used, so that ``import treadle`` costs next to nothing.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treadle.artefact import StoredArtefact as StoredArtefact
    from treadle.calibration import GateRecord as GateRecord
    from treadle.calibration import gate_records as gate_records
    from treadle.criteria import criterion as criterion
    from treadle.criteria import fits_schema as fits_schema
    from treadle.criteria import fits_type as fits_type
    from treadle.criteria import judge as judge
    from treadle.criteria import spot_check as spot_check
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
    from treadle.gates import GateContext as GateContext
    from treadle.gates import QualityGate as QualityGate
    from treadle.gates import StageOutput as StageOutput
    from treadle.gates import gate as gate
    from treadle.history import Attempt as Attempt
    from treadle.history import Review as Review
    from treadle.inbox import Inbox as Inbox
    from treadle.inbox import InboxStats as InboxStats
    from treadle.inbox import ReviewCase as ReviewCase
    from treadle.outcome import Accepted as Accepted
    from treadle.outcome import Approve as Approve
    from treadle.outcome import ApproveWithEdits as ApproveWithEdits
    from treadle.outcome import AwaitingReview as AwaitingReview
    from treadle.outcome import Completed as Completed
    from treadle.outcome import CriterionResult as CriterionResult
    from treadle.outcome import FanOut as FanOut
    from treadle.outcome import PermanentError as PermanentError
    from treadle.outcome import QualityFeedback as QualityFeedback
    from treadle.outcome import Reject as Reject
    from treadle.outcome import Rejected as Rejected
    from treadle.outcome import RequestChanges as RequestChanges
    from treadle.outcome import RetryLater as RetryLater
    from treadle.outcome import ReviewData as ReviewData
    from treadle.outcome import Skipped as Skipped
    from treadle.outcome import SubTask as SubTask
    from treadle.outcome import Uncertain as Uncertain
    from treadle.policy import ExhaustedAction as ExhaustedAction
    from treadle.policy import RetryBudget as RetryBudget
    from treadle.policy import ReviewPolicy as ReviewPolicy
    from treadle.script import run as run
    from treadle.stage import Stage as Stage
    from treadle.stage import StageContext as StageContext
    from treadle.state import ItemPhase as ItemPhase
    from treadle.state import StageState as StageState
    from treadle.state import StageStatus as StageStatus
    from treadle.state import SubTaskStatus as SubTaskStatus
    from treadle.status import PipelineStatus as PipelineStatus
    from treadle.status import RunReport as RunReport
    from treadle.store import ReviewFilter as ReviewFilter
    from treadle.store import StateStore as StateStore
    from treadle.stores.memory import MemoryStateStore as MemoryStateStore
    from treadle.stores.opening import open_store as open_store
    from treadle.stores.sqlite import SqliteStateStore as SqliteStateStore
    from treadle.workflow import Workflow as Workflow

__version__ = "0.1.0"

_HOME = {
    "artefact": ("StoredArtefact",),
    "calibration": ("GateRecord", "gate_records"),
    "criteria": ("criterion", "fits_schema", "fits_type", "judge", "spot_check"),
    "engine": ("Engine",),
    "errors": (
        "InvalidArtefact", "InvalidItem", "InvalidTransition", "InvalidWorkflow", "ItemConflict", "ItemNotFound", "LeaseLost",
        "ReviewConflict", "SchemaTooNew", "SourceFailed", "StageNotFound", "StoreCorrupt", "StoreError", "StoreFull",
        "StoreUnavailable", "TreadleError",
    ),
    "event": ("EventKind", "WorkflowEvent"),
    "gates": ("GateContext", "QualityGate", "StageOutput", "gate"),
    "history": ("Attempt", "Review"),
    "inbox": ("Inbox", "InboxStats", "ReviewCase"),
    "outcome": (
        "Accepted", "Approve", "ApproveWithEdits", "AwaitingReview", "Completed", "CriterionResult", "FanOut", "PermanentError",
        "QualityFeedback", "Reject", "Rejected", "RequestChanges", "RetryLater", "ReviewData", "Skipped", "SubTask",
        "Uncertain",
    ),
    "policy": ("ExhaustedAction", "RetryBudget", "ReviewPolicy"),
    "script": ("run",),
    "stage": ("Stage", "StageContext"),
    "state": ("ItemPhase", "StageState", "StageStatus", "SubTaskStatus"),
    "status": ("PipelineStatus", "RunReport"),
    "store": ("ReviewFilter", "StateStore"),
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
