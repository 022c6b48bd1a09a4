"""Pure functions on arrays: how good scores and decisions are, and how sure that is. No files, no services."""
