"""Networks that libraries offer, as they build them: a card and a few lines each."""
