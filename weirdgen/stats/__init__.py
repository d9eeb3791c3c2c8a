"""Pure functions on arrays: estimates and intervals. Names carry axes: S seeds, Q questions."""
