"""The portal's server: sockets wait on an event loop, the application runs in threads."""
