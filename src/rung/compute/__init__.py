"""Shared computation: every method and objective goes through here, so a speed-up is written once."""
