"""Ordinary labelled data sets as instructions: templates, mixtures, and tests on what was held out."""
