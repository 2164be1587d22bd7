"""Optuna's journal file, where it is derived from a journal that is the truth."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

from automl.store.atomic import write_text


class RebuiltLog(BaseJournalBackend):
    """In memory, until `publish` puts it in place of the file, whatever that holds.

    Later lines are appended without a sync, since a start makes the file anew, and without Optuna's
    lock file, since there is one writer, and a lock that a killed one leaves behind would hold up
    the search.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []
        self._file: JournalFileBackend | None = None

    def publish(self) -> None:
        """Write the file whole, and append to it from now on."""
        write_text(self._path, "".join(self._lines))
        self._lines.clear()
        self._file = JournalFileBackend(str(self._path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Optuna's verb: add operations, one a line."""
        lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
        if self._file is None:
            self._lines += lines
            return
        with self._path.open("ab") as file:
            file.write("".join(lines).encode())

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Optuna's verb: the operations from a number on."""
        if self._file is None:
            return map(json.loads, self._lines[log_number_from:])
        return self._file.read_logs(log_number_from)
