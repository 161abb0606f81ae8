"""Pretrained models: how they are named, fetched, checked, loaded, and where their parts live."""
