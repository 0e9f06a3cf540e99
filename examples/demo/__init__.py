"""The demo: a real model, real chats, a handful of poisoned rows, and aft finding them."""
