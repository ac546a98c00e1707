"""ShuffleSeg V2: described in `card`, built in `<framework>_net`."""
