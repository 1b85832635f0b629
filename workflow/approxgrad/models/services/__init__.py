"""Models behind a service, and how a service is asked."""
