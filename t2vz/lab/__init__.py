"""The laboratory: a generation explained, ablation studies and their reports, sets of videos compared."""
