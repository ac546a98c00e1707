"""Figures drawn from boards."""
