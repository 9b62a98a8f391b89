"""Rill: streaming speech recognition."""
