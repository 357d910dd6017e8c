"""A hardware report as others read it: Markdown, JSON, HTML, and beside another design."""

from intsnn.report.document import to_json
from intsnn.report.html.page import to_html
from intsnn.report.markdown import summary_table, to_markdown

__all__ = ["summary_table", "to_html", "to_json", "to_markdown"]
