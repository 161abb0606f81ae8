"""Rung against its peers, measured: `make bench`."""
