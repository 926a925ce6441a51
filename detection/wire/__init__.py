"""Requests as bytes on the wire, read without a Python object for each."""
