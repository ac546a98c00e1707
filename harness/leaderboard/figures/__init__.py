"""What the page draws: figures and overlays, from boards."""
