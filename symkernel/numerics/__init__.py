"""Compiled algorithms that know no network: elementary functions, flows, root finding."""
