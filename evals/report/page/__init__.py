"""The HTML page: its frame, its scripts, the data files beside it, and where sections come from."""
