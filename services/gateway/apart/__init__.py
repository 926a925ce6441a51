"""The publisher in a process of its own, beside the server's: the server's process hands over captured bytes alone."""
