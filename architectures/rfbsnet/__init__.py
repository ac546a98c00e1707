"""RFBSNet: described in `card`, built in `<framework>_net`."""
