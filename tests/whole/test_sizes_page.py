"""The Python of docs/sizes.md runs as it stands there."""

from __future__ import annotations

import re

from tests.support.paths import ROOT


def test_the_pages_python_runs() -> None:
    page = (ROOT / "docs" / "sizes.md").read_text("utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(block, "sizes.md", "exec"), names)
    assert "4-bit weights" in str(names["student"])
