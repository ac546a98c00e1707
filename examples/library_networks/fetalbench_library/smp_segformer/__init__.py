"""SegFormer B0 (smp): a card, and the library's own layers."""
