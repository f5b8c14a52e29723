"""From a prompt to a video: each pipeline reads top to bottom like the paper's algorithm."""
