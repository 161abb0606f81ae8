"""Methods: what is changed. One file each; `rung.methods.union` lists them."""
