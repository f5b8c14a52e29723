"""The laboratory: traces of a generation, a generation explained, ablation studies and their reports."""
