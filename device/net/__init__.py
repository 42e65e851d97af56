"""The grant over HTTP and the session over a WebSocket."""
