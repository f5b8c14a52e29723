"""Reading and writing videos: MP4, GIF, folders of PNGs, contact sheets."""
