"""What leaves the package: LaTeX, figures, notebook display, records; all written atomically."""
