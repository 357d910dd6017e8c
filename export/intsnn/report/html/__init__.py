"""A hardware report -> one HTML page with its pictures, without any other file or network."""

from intsnn.report.html.page import page

__all__ = ["page"]
