"""Condition pictures for ControlNet (E14), made from a video: edges, depth, poses."""
