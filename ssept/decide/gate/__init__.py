"""The regression gate: is one version of the code or of a model slower than another?"""
