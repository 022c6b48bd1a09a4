"""Words that everybody speaks. Standard library only; imports nothing else of Stepzero."""
