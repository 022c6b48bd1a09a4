"""The YAML files as closed models: unknown keys are errors with a suggestion."""
