"""Grids of problems: computed in parallel, kept on disk, labelled."""
