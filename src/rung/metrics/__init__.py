"""Metrics as pure functions, one file per kind of answer; tasks and statistics both stand on them."""
