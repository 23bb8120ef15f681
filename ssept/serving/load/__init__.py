"""Load generators for HTTP servers, with results of one form."""
