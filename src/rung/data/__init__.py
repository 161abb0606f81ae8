"""From files to splits: readers, columns, splits, checks, and the order in which rows are seen."""
