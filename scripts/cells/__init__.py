"""Parts of `scripts/compare_cells.py`: recurrent cells side by side."""
