"""Stage 1: a raw corpus becomes `data/<split>/`. One module a recipe; only these know a dataset."""
