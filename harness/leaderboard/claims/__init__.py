"""Sentences: the paper's claims, tested, and the headline."""
