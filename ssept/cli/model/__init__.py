"""Commands that make models: build, golden and train."""
