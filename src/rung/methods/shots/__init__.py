"""Which solved examples a prompt shows, and in which order."""
