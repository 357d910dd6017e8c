"""A run's record and files -> one page about it; several runs -> one table and one page. No torch here."""

from mdcompress.pages.facts import RunFacts, read_facts
from mdcompress.pages.run_page import run_page

