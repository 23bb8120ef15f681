"""How a model is served to others: repositories, servers and what loads them."""
