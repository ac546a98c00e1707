"""What the page concludes: the headline, the paper's claims re-tested, and the scanner question."""
