"""The leaderboard and the HTML page, read from the run directory alone."""
