"""ICNet: what it is stands in `card`, its layers in `<framework>_net`."""
