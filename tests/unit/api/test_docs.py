"""The examples of docs/api.md run as they are written."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def test_the_examples_run(capsys):
    first, second = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(first, names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(names["result"].front) > 1
    assert all(float(line.split()[1]) <= 20 for line in lines)
    exec(second, names)
    best = names["result"].best
    assert abs(best.config.params["x"] - 1) < 1.5
