"""The pages of these docs that are made from code: `python -m docs` writes them."""
