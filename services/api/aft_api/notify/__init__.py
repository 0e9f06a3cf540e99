"""Notifications: an outbox, and the senders that empty it."""
