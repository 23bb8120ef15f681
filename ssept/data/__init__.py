"""What the model reads: raw files of every GroupLens format, splits of them, padded batches."""

LARGEST_ID = 2**31 - 1  # of a user or an item: ids are int32 in tables
