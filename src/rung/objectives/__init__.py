"""Objectives: what is learned. One file each; `rung.objectives.union` lists them."""
