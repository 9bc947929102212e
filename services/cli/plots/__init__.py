"""Curves of runs, drawn as text for a terminal, as SVG pictures and as CSV, without a plotting library."""
