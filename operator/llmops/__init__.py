"""llmops: an operator for language models in production; each sub-package is a room with a docstring of its own."""
