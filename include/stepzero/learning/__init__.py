"""Learning on arrays in memory: transform, resample, search, judge. Knows no orchestrator and no server."""
