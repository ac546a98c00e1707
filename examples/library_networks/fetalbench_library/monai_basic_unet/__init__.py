"""BasicUNet (MONAI): a card, and the library's own layers."""
