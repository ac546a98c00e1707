"""The networks that are compared: one folder a network, the same network once per framework."""
