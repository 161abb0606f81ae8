"""Side duties of the loop, one file each."""
