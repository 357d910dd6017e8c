"""The files of a run -> one page about it; several runs -> one table and one page. No torch here."""

from mdcompress.pipeline.pages.comparison import Comparison, compare_runs
from mdcompress.pipeline.pages.comparison_page import comparison_columns, comparison_page, students_page
from mdcompress.pipeline.pages.facts import RunFacts, read_facts
from mdcompress.pipeline.pages.run_page import run_page

__all__ = [
    "Comparison",
    "RunFacts",
    "compare_runs",
    "comparison_columns",
    "comparison_page",
    "read_facts",
    "run_page",
    "students_page",
]
