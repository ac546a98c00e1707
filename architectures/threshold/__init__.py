"""Otsu threshold and largest component: the floor of the leaderboard."""
