"""Tasks: the user's problem. One file each; `rung.tasks.union` lists them."""
