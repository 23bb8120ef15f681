"""The report of saved runs as a page or a file: content, then charts, then the form."""
