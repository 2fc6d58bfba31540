"""Published results, one readable file each, in the public API alone; each ends in its checks."""
