"""Handles of server processes that end with the process that started them."""
