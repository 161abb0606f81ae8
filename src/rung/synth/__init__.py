"""Instructions written by a model: proposed, filled in, filtered, kept with where they came from."""
