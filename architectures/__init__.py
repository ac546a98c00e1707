"""The networks that are compared: one folder per network, the same network once per framework."""
