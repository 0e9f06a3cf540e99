"""The language that aft's services speak: names, units and shapes, and nothing that does anything."""

from .analysis import AnalysisResult, AnalysisSpec, Replay, ReplayVariant
from .anomaly import Anomaly, AnomalyKind
from .batch import Batch
from .command import (
    BlacklistSamples,
    Command,
    CommandRecord,
    CommandStatus,
    Pause,
    Resume,
    Rollback,
    SetGradClip,
    SetLearningRate,
    SetMix,
    SkipBatch,
    Stop,
)
from .contract import Contract, Measured, digest_of
from .diagnosis import DiagnosisReport, Suspect, Verdict
from .evaluation import DomainScore, EvaluationResult, EvaluationSpec
from .event import Event, EventKind
from .export import ExportJob, ExportResult
from .job import ENDED, JobRequest, JobStatus, JobView
from .metrics import MetricsWindow, SampleRecord, StepRecord, Withheld
from .problem import Problem
from .repair import Repair, RepairKind
from .review import Answer, Decision, Review, ReviewStatus
from .run import FINISHED, MOVES, Evaluated, RunStatus, RunView, WindowView
from .run_spec import (
    CheckpointSpec,
    CurriculumSpec,
    DataSpec,
    DetectionSpec,
    DomainSpec,
    ExportSpec,
    LoraSpec,
    ModelSpec,
    NotifySpec,
    OnBadRow,
    OptimSpec,
    RateCurve,
    RepairPolicy,
    RunSpec,
    WindowPolicy,
)
from .schedule import BlacklistEntry, Branch, ClipChange, MixSegment, RateChange, Schedule
from .state import State
from .window import CheckpointRef, WindowResult, WindowSpec, WorkerNote, window_id_of
from .worker import DomainSize, LoadedRun, LoadStatus, RunLoad, WorkerInfo

__all__ = [
    "ENDED",
    "FINISHED",
    "MOVES",
    "AnalysisResult",
    "AnalysisSpec",
    "Anomaly",
    "AnomalyKind",
    "Answer",
    "Batch",
    "BlacklistEntry",
    "BlacklistSamples",
    "Branch",
    "CheckpointRef",
    "CheckpointSpec",
    "ClipChange",
    "Command",
    "CommandRecord",
    "CommandStatus",
    "Contract",
    "CurriculumSpec",
    "DataSpec",
    "Decision",
    "DetectionSpec",
    "DiagnosisReport",
    "DomainScore",
    "DomainSize",
    "DomainSpec",
    "Evaluated",
    "EvaluationResult",
    "EvaluationSpec",
    "Event",
    "EventKind",
    "ExportJob",
    "ExportResult",
    "ExportSpec",
    "JobRequest",
    "JobStatus",
    "JobView",
    "LoadStatus",
    "LoadedRun",
    "LoraSpec",
    "Measured",
    "MetricsWindow",
    "MixSegment",
    "ModelSpec",
    "NotifySpec",
    "OnBadRow",
    "OptimSpec",
    "Pause",
    "Problem",
    "RateChange",
    "RateCurve",
    "Repair",
    "RepairKind",
    "RepairPolicy",
    "Replay",
    "ReplayVariant",
    "Resume",
    "Review",
    "ReviewStatus",
    "Rollback",
    "RunLoad",
    "RunSpec",
    "RunStatus",
    "RunView",
    "SampleRecord",
    "Schedule",
    "SetGradClip",
    "SetLearningRate",
    "SetMix",
    "SkipBatch",
    "State",
    "StepRecord",
    "Stop",
    "Suspect",
    "Verdict",
    "WindowPolicy",
    "WindowResult",
    "WindowSpec",
    "WindowView",
    "Withheld",
    "WorkerInfo",
    "WorkerNote",
    "digest_of",
    "window_id_of",
]
