"""How a framework builds, trains, runs and counts a network."""
