"""The data set behind a server: its ids, titles and histories."""
