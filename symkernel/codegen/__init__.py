"""From formulas to compiled routines: rewriting rules, printer, compiler and on-disk cache."""
