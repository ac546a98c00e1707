"""PlainConvUNet (nnU-Net): a card, and the library's own layers."""
