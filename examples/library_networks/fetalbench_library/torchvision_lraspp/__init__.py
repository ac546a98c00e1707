"""LRASPP MobileNetV3 (torchvision): a card, and the library's own layers."""
