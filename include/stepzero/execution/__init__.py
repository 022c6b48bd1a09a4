"""Running stages and making plans: the one way that a stage is executed."""
