"""Where new candidates come from: one file per way."""
