"""What the model reads: raw files of every GroupLens format, splits of them, padded batches."""
