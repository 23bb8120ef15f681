"""The server process: connections, uvicorn and the supervisor of several workers."""
