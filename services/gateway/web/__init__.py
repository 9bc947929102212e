"""The web page of the gateway: static files, and the routes that serve them."""
