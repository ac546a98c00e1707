"""The leaderboard: records in, one page out. Reads records and never a backend."""
