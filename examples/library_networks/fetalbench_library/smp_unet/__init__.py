"""U-Net ResNet-18 (smp): a card, and the library's own layers."""
