"""A hardware report as others read it: Markdown, JSON, HTML, and beside another design."""
