"""The durable log: `base` is the interface, `sqlite` the embedded implementation."""
