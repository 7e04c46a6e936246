"""The web page: templates, static files, and what they show. No request leaves this server."""
