"""Starts worker processes; the parent imports no framework."""
