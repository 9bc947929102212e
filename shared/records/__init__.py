"""The records on the volume, as frozen values, and how they are read and written: by writer, a module each.

Times are seconds since the epoch (UTC) and serve people alone: nothing is decided by comparing them, since clocks jump.
"""

from shared.records.evaluator import ClassFigures, EvaluatorStatus, ExportManifest, Lease, Verdict
from shared.records.files import FileName, FileRecord
from shared.records.gateway import Alias, Aliases, Assignment, Canary, Desired, Move, Origin, Parent, Pins, Tags
from shared.records.judgements import Calibration, Comparison, Drift, Recalibrated, ReliabilityBin
from shared.records.lines import Event, LineWriter, newest_line, read_lines
from shared.records.record import (
    SCHEMA_VERSION,
    Record,
    Value,
    encode_record,
    parse_record,
    read_record,
    read_record_or_none,
    write_record,
)
from shared.records.trainer import (
    CheckpointManifest,
    Device,
    Fence,
    Rollback,
    Rollbacks,
    SeriesPoint,
    SlotRecord,
    TrainerPhase,
    TrainerStatus,
)

__all__ = [
    "SCHEMA_VERSION",
    "Alias",
    "Aliases",
    "Assignment",
    "Calibration",
    "Canary",
    "CheckpointManifest",
    "ClassFigures",
    "Comparison",
    "Desired",
    "Device",
    "Drift",
    "EvaluatorStatus",
    "Event",
    "ExportManifest",
    "Fence",
    "FileName",
    "FileRecord",
    "Lease",
    "LineWriter",
    "Move",
    "Origin",
    "Parent",
    "Pins",
    "Recalibrated",
    "Record",
    "ReliabilityBin",
    "Rollback",
    "Rollbacks",
    "SeriesPoint",
    "SlotRecord",
    "Tags",
    "TrainerPhase",
    "TrainerStatus",
    "Value",
    "Verdict",
    "encode_record",
    "newest_line",
    "parse_record",
    "read_lines",
    "read_record",
    "read_record_or_none",
    "write_record",
]
