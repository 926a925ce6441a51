"""Gateway side: text becomes sketches here, and text goes no further."""
