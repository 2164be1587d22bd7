"""Every error that this package raises on purpose.

AutomlError
├── UsageError          the user can fix it: printed without a traceback, exit code 2
│   ├── SpaceError      a fault in an experiment file
│   ├── DataError       a fault in a dataset
│   └── BundleError     a bundle is missing, damaged or of an unknown version
├── TrialError          one trial cannot go on; the search does
└── StudyError          the search cannot go on (too many faults of one kind, disk full)
"""

from __future__ import annotations


class AutomlError(Exception):
    """Base of all errors raised on purpose."""


class UsageError(AutomlError):
    """The user can fix this; the command line prints it without a traceback and exits with 2."""


class SpaceError(UsageError):
    """An experiment file is wrong; the message lists every fault."""


class DataError(UsageError):
    """A dataset is wrong; the message names the files."""


class BundleError(UsageError):
    """A bundle is missing, damaged or unreadable."""


class TrialError(AutomlError):
    """One trial failed; the message says at which step and why."""


class StudyError(AutomlError):
    """The study as a whole cannot go on; what is finished is on disk."""
