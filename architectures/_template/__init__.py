"""Template: a card, and the network in each framework."""
