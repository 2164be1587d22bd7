"""The layers hold: import-linter's contracts, as part of the test suite."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_LINES = 300


def test_imports_point_downwards():
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_modules_are_small():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "automl").rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


def test_file_systems_of_pyarrow_have_one_door():
    """Import-linter sees packages of others as a whole, and pyarrow's Arrow files are no secret."""
    importers = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "automl").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if "pyarrow.fs" in _imported(node)
    }
    assert importers == {"automl/storage/arrow_objects.py"}


def _imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return set()
