"""docs/run_folder.md names every file of a run."""

from __future__ import annotations

from mdcompress.runs import C_FOLDER, NIR_FILE, RECIPE_FILE, STAGE_FILES, STUDENT_FILE
from mdcompress.runs.manifest import MANIFEST_NAME
from tests.support.paths import ROOT


def test_every_file_of_a_run_has_its_row() -> None:
    page = (ROOT / "docs" / "run_folder.md").read_text("utf-8")
    names = [
        RECIPE_FILE,
        MANIFEST_NAME,
        NIR_FILE,
        STUDENT_FILE,
        f"{C_FOLDER}/",
        *(name for names in STAGE_FILES.values() for name in names),
    ]
    assert [name for name in names if f"`{name}`" not in page] == []
