"""Strict YAML: a file becomes a checked model, or an error with line, column and hint."""
