"""From a prompt to a video: algorithm_1.py reads like the paper, each pipeline brings its ε_θ."""
